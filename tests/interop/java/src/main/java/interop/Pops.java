package interop;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** The 5.x push consumer with the broker dividing the work: 400, and POP where the group's mode says so. */
final class Pops {
    private Pops() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("broker_side_rebalance", "pop", 60, Pops::brokerSide),
        new Scenario("pop_consume", "pop", 90, Pops::pop),
        new Scenario("pop_share", "pop", 60, Pops::share),
        new Scenario("pop_tags", "pop", 60, Pops::tags),
        new Scenario("pop_comes_back", "pop", 90, Pops::comesBack));

    static void brokerSide(Stage stage) throws Exception {
        String topic = stage.created("assign", 4);
        Received received = new Received();
        DefaultMQPushConsumer consumer = received.listening(stage.push(stage.group("assign")), topic, "*");
        Versions.brokerSideRebalance(consumer);
        stage.start(consumer);
        Pulling.fill(stage, topic, 60);
        received.exactly(60, 40);
    }

    /** The group's mode is set as mqadmin setConsumeMode does it (401), then the same consumer pops. One message is refused once and comes again after 10 s. */
    static void pop(Stage stage) throws Exception {
        String topic = stage.created("pop", 4);
        String group = stage.group("pop");
        RawClient.at(stage, topic).requestMode(topic, group, "POP");
        Received received = new Received();
        AtomicInteger refused = new AtomicInteger();
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                if (message.getKeys().equals("k7") && refused.getAndIncrement() == 0) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                received.add(message);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        Versions.brokerSideRebalance(consumer);
        stage.start(consumer);
        Pulling.fill(stage, topic, 60);
        received.atLeast(60, 70);
        Check.that(received.list().stream().allMatch(m -> m.getProperty("POP_CK") != null), "a message without POP_CK: not popped");
        Check.between("deliveries", 60, 70, received.size());
    }

    private static DefaultMQPushConsumer popping(Stage stage, String group, String topic, String tags, MessageListenerConcurrently listener)
        throws Exception {
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(listener);
        consumer.setConsumeMessageBatchMaxSize(1);
        Versions.brokerSideRebalance(consumer);
        return stage.start(consumer);
    }

    /** Two consumers pop from all queues side by side. */
    static void share(Stage stage) throws Exception {
        String topic = stage.created("pops", 2);
        String group = stage.group("pops");
        RawClient.at(stage, topic).requestMode(topic, group, "POP");
        Received one = new Received();
        Received two = new Received();
        popping(stage, group, topic, "*", Stage.taking(one));
        popping(stage, group, topic, "*", Stage.taking(two));
        for (int i = 0; i < 20 && (one.size() == 0 || two.size() == 0); i++) {
            Pulling.fill(stage, topic, 10);
            Thread.sleep(500);
        }
        Check.that(one.size() > 0 && two.size() > 0, "one got " + one.size() + ", two got " + two.size());
    }

    static void tags(Stage stage) throws Exception {
        String topic = stage.created("popt", 2);
        String group = stage.group("popt");
        RawClient.at(stage, topic).requestMode(topic, group, "POP");
        Pulling.fill(stage, topic, 40);
        Received received = new Received();
        popping(stage, group, topic, "B", Stage.taking(received));
        received.exactly(20, 40);
        Check.that(received.list().stream().allMatch(m -> "B".equals(m.getTags())), "another tag came");
    }

    /** Messages popped by a consumer that neither acknowledges nor lives on are given to the next one after their invisible time. */
    static void comesBack(Stage stage) throws Exception {
        String topic = stage.created("popb", 2);
        String group = stage.group("popb");
        RawClient.at(stage, topic).requestMode(topic, group, "POP");
        Received hoarded = new Received();
        CountDownLatch never = new CountDownLatch(1);
        DefaultMQPushConsumer hoarder = stage.push(group);
        hoarder.subscribe(topic, "*");
        hoarder.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(hoarded::add);
            try {
                never.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return null;
        });
        Versions.set(hoarder, "setPopInvisibleTime", long.class, 5_000L);
        Versions.brokerSideRebalance(hoarder);
        stage.start(hoarder);
        Check.until(() -> Rebalancing.popsFrom(hoarder, topic), 30, () -> "the first one does not pop");
        Pulling.fill(stage, topic, 4);
        Check.until(() -> hoarded.size() > 0, 20, () -> "nothing popped");
        hoarder.shutdown();
        Received received = new Received();
        long begin = System.nanoTime();
        popping(stage, group, topic, "*", Stage.taking(received));
        received.atLeast(4, 60);
        stage.note("all came " + (System.nanoTime() - begin) / 1_000_000 + " ms after the first one had gone");
    }
}
