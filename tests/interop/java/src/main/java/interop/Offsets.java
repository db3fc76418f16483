package interop;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;

/** Where a group begins, and that it goes on where it stopped, over restarts of client and broker. */
final class Offsets {
    private Offsets() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("consume_from_first", "core", 40, Offsets::first),
        new Scenario("consume_from_last", "core", 60, Offsets::last),
        new Scenario("consume_from_timestamp", "core", 60, Offsets::timestamp),
        new Scenario("offsets_client_restart", "core", 60, Offsets::clientRestart),
        new Scenario("offsets_before", "phase", 60, Offsets::before),
        new Scenario("offsets_after", "phase", 60, Offsets::after),
        new Scenario("through_restart", "phase", 120, Offsets::throughRestart));

    private static void send(DefaultMQProducer producer, String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
    }

    static void first(Stage stage) throws Exception {
        String topic = stage.created("first", 4);
        send(stage.producer(), topic, 0, 60);
        Received received = new Received();
        stage.concurrent(stage.group("first"), topic, "*", received);
        received.exactly(60, 25);
    }

    private static long old(Received received, int border) {
        return received.list().stream().filter(m -> Integer.parseInt(m.getKeys().substring(1)) < border).count();
    }

    /**
     * What is sent after the consumer stands must come. What was sent before may: the Apache broker answers 0 for a group without an
     * offset while the topic is young, and suites rely on it.
     */
    static void last(Stage stage) throws Exception {
        String topic = stage.created("last", 4);
        DefaultMQProducer producer = stage.producer();
        send(producer, topic, 0, 40);
        Received received = new Received();
        DefaultMQPushConsumer consumer = received.listening(stage.push(stage.group("last")), topic, "*");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        stage.start(consumer);
        Check.until(() -> Rebalancing.queuesOf(consumer, topic).size() == 4, 30, () -> "no queues");
        send(producer, topic, 40, 80);
        Check.until(() -> received.size() - old(received, 40) >= 40, 25, () -> "of 40 new ones came " + (received.size() - old(received, 40)));
        stage.note(old(received, 40) + " of 40 older ones came too");
    }

    static void timestamp(Stage stage) throws Exception {
        String topic = stage.created("time", 2);
        DefaultMQProducer producer = stage.producer();
        send(producer, topic, 0, 40);
        // The setting knows whole seconds only.
        Thread.sleep(2_100);
        String from = LocalDateTime.now().minusSeconds(1).format(DateTimeFormatter.ofPattern("yyyyMMddHHmmss"));
        send(producer, topic, 40, 80);
        Received received = new Received();
        DefaultMQPushConsumer consumer = received.listening(stage.push(stage.group("time")), topic, "*");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        consumer.setConsumeTimestamp(from);
        stage.start(consumer);
        Check.until(() -> received.size() - old(received, 40) >= 40, 25, () -> "of 40 new ones came " + (received.size() - old(received, 40)));
        stage.note(old(received, 40) + " of 40 older ones came too");
    }

    static void clientRestart(Stage stage) throws Exception {
        String topic = stage.created("kept", 4);
        String group = stage.group("kept");
        DefaultMQProducer producer = stage.producer();
        send(producer, topic, 0, 100);
        Received before = new Received();
        DefaultMQPushConsumer consumer = stage.concurrent(group, topic, "*", before);
        before.exactly(100, 25);
        consumer.shutdown();
        send(producer, topic, 100, 150);
        Received after = new Received();
        stage.concurrent(group, topic, "*", after);
        after.exactly(50, 25);
        Check.equal("old messages after the restart", 0L, old(after, 100));
    }

    /** First half of a pair; the broker is restarted in between, and both run with the same --suffix. */
    static void before(Stage stage) throws Exception {
        String topic = "t_offsets_pair_" + pair(stage);
        DefaultMQProducer producer = stage.producer();
        Versions.createTopic(producer, topic, 4);
        send(producer, topic, 0, 60);
        Received received = new Received();
        DefaultMQPushConsumer consumer = stage.concurrent("g_offsets_pair_" + pair(stage), topic, "*", received);
        received.exactly(60, 25);
        consumer.shutdown();
        send(producer, topic, 60, 100);
    }

    static void after(Stage stage) throws Exception {
        String topic = "t_offsets_pair_" + pair(stage);
        Received received = new Received();
        stage.concurrent("g_offsets_pair_" + pair(stage), topic, "*", received);
        received.exactly(40, 25);
        Check.equal("old messages after the broker's restart", 0L, old(received, 60));
        DefaultMQPullConsumer reader = stage.pull(stage.group("reader"));
        int all = 0;
        for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
            all += Pulling.readAll(reader, queue, 0, (int) reader.maxOffset(queue)).size();
        }
        Check.equal("messages in the log", 100, all);
        send(stage.producer(), topic, 100, 110);
        received.exactly(50, 25);
    }

    /**
     * Somebody kills the broker and starts it again while this runs (run.sh does): the same producer and consumer go on, and every
     * message that was acknowledged comes, more than once perhaps.
     */
    static void throughRestart(Stage stage) throws Exception {
        String topic = stage.created("through", 4);
        DefaultMQProducer producer = stage.unstartedProducer();
        producer.setRetryTimesWhenSendFailed(0);
        stage.started(producer);
        producer.setSendMsgTimeout(1_000);
        Received received = new Received();
        stage.concurrent(stage.group("through"), topic, "*", received);
        Set<String> acknowledged = new HashSet<>();
        long refused = 0;
        long end = System.nanoTime() + 15_000_000_000L;
        for (int i = 0; System.nanoTime() < end; i++) {
            try {
                producer.send(Sending.message(topic, "A", i));
                acknowledged.add("k" + i);
            } catch (Exception e) {
                refused++;
                Thread.sleep(50);
            }
            Thread.sleep(2);
        }
        Check.that(refused > 0, "nobody restarted the broker");
        long after = Check.until(() -> received.byKey().keySet().containsAll(acknowledged), 60,
            () -> acknowledged.size() + " acknowledged, " + received.distinct() + " received");
        stage.note(acknowledged.size() + " acknowledged, " + refused + " sends failed meanwhile, all came after " + after + " ms");
    }

    private static String pair(Stage stage) {
        return stage.suffix.substring(stage.suffix.lastIndexOf('_') + 1);
    }
}
