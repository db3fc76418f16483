package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What RingMQ promises beyond the Apache broker. Not expected to pass anywhere else. */
final class Promises {
    private Promises() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("pipelined_order", "ringmq", 40, Promises::pipelinedOrder),
        new Scenario("thousand_in_flight", "ringmq", 40, Promises::thousandInFlight),
        new Scenario("fresh_group_skips_nothing", "ringmq", 40, Promises::freshGroup),
        new Scenario("first_delivery", "ringmq", 60, Promises::firstDelivery),
        new Scenario("orderly_killed", "ringmq", 60, Promises::orderlyKilled),
        new Scenario("write_permission", "ringmq", 20, Promises::writePermission),
        new Scenario("flush_attribute", "ringmq", 20, Promises::flushAttribute),
        new Scenario("auto_create_refused", "phase", 20, Promises::autoCreateRefused));

    /** Sends pipelined on one connection to one queue are stored in the order they left. */
    static void pipelinedOrder(Stage stage) throws Exception {
        String topic = stage.created("order", 2);
        DefaultMQProducer producer = stage.producer();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(1);
        int n = 3_000;
        for (int i = 0; i < n; i++) {
            // One-way leaves the client on the calling thread, so the order on the wire is known.
            producer.sendOneway(Sending.message(topic, "A", i), queue);
        }
        List<MessageExt> stored = Pulling.readAll(stage.pull(stage.group("order")), queue, 0, n);
        Map<Integer, String> wrong = new TreeMap<>();
        for (int i = 0; i < n; i++) {
            if (!stored.get(i).getKeys().equals("k" + i)) {
                wrong.put(i, stored.get(i).getKeys());
            }
        }
        Check.that(wrong.isEmpty(), wrong.size() + " out of order, first " + wrong.entrySet().stream().limit(5).toList());
    }

    /** A thousand sends in flight at once: none is refused for waiting. */
    static void thousandInFlight(Stage stage) throws Exception {
        String topic = stage.created("flood", 4);
        DefaultMQProducer producer = stage.unstartedProducer();
        producer.setRetryTimesWhenSendAsyncFailed(0);
        stage.started(producer);
        producer.setSendMsgTimeout(15_000);
        int n = 4_000;
        CountDownLatch answered = new CountDownLatch(n);
        AtomicReference<Throwable> failed = new AtomicReference<>();
        for (int i = 0; i < n; i++) {
            if (i % 1_000 == 0) {
                long open = n - answered.getCount();
                int sent = i;
                Check.until(() -> n - answered.getCount() == sent, 20, () -> "answered " + open + " of " + sent);
            }
            producer.send(Sending.message(topic, "A", i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    answered.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failed.set(e);
                    answered.countDown();
                }
            });
        }
        Check.that(answered.await(20, TimeUnit.SECONDS), answered.getCount() + " sends not answered");
        Check.that(failed.get() == null, "a send failed: " + failed.get());
    }

    /** From the last offset of an empty topic: whatever is stored once the consumer has started comes. */
    static void freshGroup(Stage stage) throws Exception {
        String topic = stage.created("fresh", 4);
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        DefaultMQPushConsumer consumer = received.listening(stage.push(stage.group("fresh")), topic, "*");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        stage.start(consumer);
        for (int i = 0; i < 200; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        received.exactly(200, 25);
    }

    /** A new group gets its first message at once, not after the refusals and pauses of a heartbeat that came too late. */
    static void firstDelivery(Stage stage) throws Exception {
        String topic = stage.created("now", 4);
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 20; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        long worst = 0;
        for (int i = 0; i < 6; i++) {
            Received received = new Received();
            long begin = System.nanoTime();
            DefaultMQPushConsumer consumer = stage.concurrent(stage.group("now" + i), topic, "*", received);
            received.exactly(20, 25);
            worst = Math.max(worst, (System.nanoTime() - begin) / 1_000_000);
            consumer.shutdown();
        }
        Check.that(worst < 5_000, "a new group had its 20 messages after " + worst + " ms");
        stage.note("worst " + worst + " ms");
    }

    /** An orderly consumer dies holding its locks; the other one gets the queues long before a lock's minute is over. */
    static void orderlyKilled(Stage stage) throws Exception {
        String topic = stage.created("oldlock", 4);
        String group = stage.group("oldlock");
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        DefaultMQPushConsumer survivor = stage.orderly(group, topic, received);
        Check.until(() -> Rebalancing.queuesOf(survivor, topic).size() == 4, 30, () -> "the first one has no queues");
        Rebalancing.Child child = Rebalancing.Child.start(stage, "--child-orderly", topic, group);
        Check.until(() -> Rebalancing.queuesOf(survivor, topic).size() == 2, 40, () -> "the child did not join");
        for (int i = 0; i < 40; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        Check.until(() -> child.union(received) == 40 && child.size() > 0, 30, () -> "consumed " + child.union(received) + " of 40");
        child.kill();
        long begin = System.nanoTime();
        for (int i = 40; i < 80; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        Check.until(() -> child.union(received) == 80, 30, () -> "consumed " + child.union(received) + " of 80");
        stage.note("all consumed " + (System.nanoTime() - begin) / 1_000_000 + " ms after the kill");
    }

    private static Map<String, String> topicHeader(String topic, int perm, String attributes) {
        Map<String, String> header = new HashMap<>(Map.of("topic", topic, "defaultTopic", "TBW102", "readQueueNums", "2", "writeQueueNums", "2",
            "perm", Integer.toString(perm), "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false"));
        if (!attributes.isEmpty()) {
            header.put("attributes", attributes);
        }
        return header;
    }

    private static RawClient.Answer send(RawClient broker, String topic) throws Exception {
        Map<String, String> header = new HashMap<>(Map.of("a", "g_raw", "b", topic, "c", "TBW102", "d", "4", "e", "0", "f", "0", "g",
            Long.toString(System.currentTimeMillis()), "h", "0", "j", "0", "k", "false"));
        header.put("m", "false");
        header.put("i", "");
        return broker.request(310, header, "x");
    }

    /** A topic that may only be read refuses a send with 16, and says so. */
    static void writePermission(Stage stage) throws Exception {
        RawClient broker = RawClient.at(stage, "TBW102");
        String topic = stage.topic("readonly");
        Check.equal("created", 0, broker.request(17, topicHeader(topic, 4, ""), "").code());
        RawClient.Answer answer = send(broker, topic);
        Check.equal("send: " + answer.header(), 16, answer.code());
        Check.that(answer.header().contains("\"remark\""), "no remark: " + answer.header());
        Check.equal("created again", 0, broker.request(17, topicHeader(topic, 6, ""), "").code());
        Check.equal("send", 0, send(broker, topic).code());
    }

    static void flushAttribute(Stage stage) throws Exception {
        RawClient broker = RawClient.at(stage, "TBW102");
        for (String type : new ArrayList<>(List.of("SYNC", "ASYNC"))) {
            String topic = stage.topic("flush" + type);
            RawClient.Answer made = broker.request(17, topicHeader(topic, 6, "+flush.type=" + type), "");
            Check.equal("create " + type + ": " + made.header(), 0, made.code());
            for (int i = 0; i < 5; i++) {
                Check.equal("send " + type, 0, send(broker, topic).code());
            }
        }
        RawClient.Answer refused = broker.request(17, topicHeader(stage.topic("flushbad"), 6, "+flush.type=SOMETIMES"), "");
        Check.that(refused.code() != 0, "flush.type=SOMETIMES was accepted");
    }

    /** With autoCreateTopicEnable=false (run.sh restarts the broker so) a send to an unknown topic is refused with 17. */
    static void autoCreateRefused(Stage stage) throws Exception {
        DefaultMQProducer producer = stage.producer();
        Exception refused = Check.fails(Exception.class,
            () -> producer.send(new org.apache.rocketmq.common.message.Message(stage.topic("none"), "x".getBytes(StandardCharsets.UTF_8))));
        stage.note(refused.getClass().getSimpleName());
        RawClient.Answer answer = send(RawClient.at(stage, "DefaultCluster"), stage.topic("none"));
        Check.equal("send: " + answer.header(), 17, answer.code());
    }
}
