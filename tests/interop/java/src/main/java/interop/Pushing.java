package interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Push consumers: tags, orderly with queue locks, broadcasting, changing subscriptions. */
final class Pushing {
    private Pushing() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("push_tags", "core", 40, Pushing::tags),
        new Scenario("orderly", "core", 40, Pushing::orderly),
        new Scenario("orderly_handover", "core", 75, Pushing::orderlyHandover),
        new Scenario("orderly_suspend", "more", 40, Pushing::orderlySuspend),
        new Scenario("broadcasting", "core", 40, Pushing::broadcasting),
        new Scenario("resubscribe", "more", 60, Pushing::resubscribe),
        new Scenario("push_latency", "core", 40, Pushing::latency));

    static void tags(Stage stage) throws Exception {
        String topic = stage.created("tags", 4);
        DefaultMQProducer producer = stage.producer();
        String[] tags = {"A", "B", "C", null};
        for (int i = 0; i < 80; i++) {
            producer.send(Sending.message(topic, tags[i % 4], i));
        }
        Map<String, Received> wanted = Map.of("*", new Received(), "A", new Received(), "A || B", new Received());
        int n = 0;
        for (Map.Entry<String, Received> one : wanted.entrySet()) {
            stage.concurrent(stage.group("tags" + n++), topic, one.getKey(), one.getValue());
        }
        wanted.get("*").exactly(80, 30);
        wanted.get("A").exactly(20, 30);
        wanted.get("A || B").exactly(40, 30);
        Check.that(wanted.get("A").list().stream().allMatch(m -> "A".equals(m.getTags())), "A got another tag");
        Check.that(wanted.get("A || B").list().stream().allMatch(m -> Set.of("A", "B").contains(m.getTags())), "A || B got another tag");
    }

    /** Sends 20 messages of each of 7 keys, each key always to its own queue. */
    private static void sendByKey(DefaultMQProducer producer, String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            producer.send(Sending.message(topic, "A", i), (queues, message, key) -> queues.get((Integer) key % queues.size()), i % 7);
        }
    }

    static void orderOfKeys(List<MessageExt> all) {
        Map<Integer, Integer> last = new HashMap<>();
        for (MessageExt message : all) {
            int i = Integer.parseInt(message.getKeys().substring(1));
            Integer before = last.put(i % 7, i);
            Check.that(before == null || before < i, "key " + i % 7 + ": " + i + " after " + before);
        }
    }

    static void orderly(Stage stage) throws Exception {
        String topic = stage.created("orderly", 4);
        sendByKey(stage.producer(), topic, 0, 140);
        Received received = new Received();
        stage.orderly(stage.group("orderly"), topic, received);
        received.exactly(140, 30);
        orderOfKeys(received.list());
    }

    /** Two orderly consumers share the queues, one leaves, the other takes over: a queue is never at two of them at once. */
    static void orderlyHandover(Stage stage) throws Exception {
        String topic = stage.created("handover", 4);
        String group = stage.group("handover");
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        Map<Integer, String> busy = new ConcurrentHashMap<>();
        AtomicInteger clashes = new AtomicInteger();
        List<DefaultMQPushConsumer> two = new ArrayList<>();
        for (String name : List.of("one", "two")) {
            DefaultMQPushConsumer consumer = stage.push(group);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                int queue = context.getMessageQueue().getQueueId();
                if (busy.putIfAbsent(queue, name) != null) {
                    clashes.incrementAndGet();
                }
                messages.forEach(received::add);
                busy.remove(queue, name);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            two.add(stage.start(consumer));
        }
        long split = Check.until(() -> two.stream().allMatch(c -> Rebalancing.queuesOf(c, topic).size() == 2), 30, () -> "not split 2/2");
        sendByKey(producer, topic, 0, 70);
        received.atLeast(70, 20);
        two.get(1).shutdown();
        long over = Check.until(() -> Rebalancing.queuesOf(two.get(0), topic).size() == 4, 30, () -> "not taken over");
        sendByKey(producer, topic, 70, 140);
        received.exactly(140, 30);
        orderOfKeys(received.list());
        Check.equal("a queue at two consumers at once", 0, clashes.get());
        stage.note("split after " + split + " ms, taken over after " + over + " ms");
    }

    static void orderlySuspend(Stage stage) throws Exception {
        String topic = stage.created("suspend", 1);
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 14; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        Received received = new Received();
        AtomicInteger refusals = new AtomicInteger(3);
        DefaultMQPushConsumer consumer = stage.push(stage.group("suspend"));
        consumer.setSuspendCurrentQueueTimeMillis(200);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (refusals.getAndDecrement() > 0) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            messages.forEach(received::add);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        stage.start(consumer);
        received.exactly(14, 30);
        for (int i = 0; i < 14; i++) {
            Check.equal("order", "k" + i, received.list().get(i).getKeys());
        }
    }

    static void broadcasting(Stage stage) throws Exception {
        String topic = stage.created("cast", 4);
        String group = stage.group("cast");
        Received one = new Received();
        Received two = new Received();
        for (Received received : List.of(one, two)) {
            DefaultMQPushConsumer consumer = received.listening(stage.push(group), topic, "*");
            Versions.broadcasting(consumer);
            stage.start(consumer);
        }
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 100; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        one.exactly(100, 30);
        two.exactly(100, 30);
    }

    /** A subscription widened while the consumer runs. */
    static void resubscribe(Stage stage) throws Exception {
        String topic = stage.created("wider", 2);
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        DefaultMQPushConsumer consumer = stage.concurrent(stage.group("wider"), topic, "A", received);
        producer.send(Sending.message(topic, "A", 0));
        received.exactly(1, 30);
        consumer.subscribe(topic, "A || B");
        // The client tells the broker with its next heartbeat; its held pulls still carry the older subscription.
        Thread.sleep(1_000);
        producer.send(Sending.message(topic, "B", 1));
        received.atLeast(1, 1);
        for (int i = 2; i < 40; i++) {
            producer.send(Sending.message(topic, "B", i));
            Thread.sleep(1_000);
            if (received.size() > 1) {
                stage.note("after " + i + " messages");
                return;
            }
        }
        throw new Check.Failed("no message of the new tag came");
    }

    /** A message sent to a waiting push consumer is there within a moment. */
    static void latency(Stage stage) throws Exception {
        String topic = stage.created("latency", 4);
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        stage.concurrent(stage.group("latency"), topic, "*", received);
        producer.send(Sending.message(topic, "A", 0));
        received.atLeast(1, 30);
        long worst = 0;
        for (int i = 1; i <= 20; i++) {
            int n = i + 1;
            producer.send(Sending.message(topic, "A", i));
            worst = Math.max(worst, Check.until(() -> received.distinct() >= n, 10, () -> "message " + n));
        }
        Check.that(worst < 1_500, "a waiting consumer got its message after " + worst + " ms");
        stage.note("worst " + worst + " ms");
    }
}
