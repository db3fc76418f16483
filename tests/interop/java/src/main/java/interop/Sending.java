package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way to send, and topics coming to be. */
final class Sending {
    private Sending() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("quick_start", "core", 40, Sending::quickStart),
        new Scenario("async_send", "core", 40, Sending::async),
        new Scenario("oneway_send", "core", 30, Sending::oneway),
        new Scenario("batch_send", "core", 30, Sending::batch),
        new Scenario("chosen_queue", "core", 20, Sending::chosenQueue),
        new Scenario("create_topic", "core", 20, Sending::createTopic),
        new Scenario("auto_create", "core", 20, Sending::autoCreate),
        new Scenario("send_answer", "core", 20, Sending::answer),
        new Scenario("vip_channel", "core", 30, Sending::vipChannel),
        new Scenario("namespace", "more", 40, Sending::namespace),
        new Scenario("trace", "more", 40, Sending::trace));

    static Message message(String topic, String tag, int i) {
        return new Message(topic, tag, "k" + i, ("body " + i).getBytes(StandardCharsets.UTF_8));
    }

    /** The tutorial: a topic nobody made, 1,000 messages out, 1,000 in, equal in everything the user set. */
    static void quickStart(Stage stage) throws Exception {
        String topic = stage.topic("quick");
        DefaultMQProducer producer = stage.producer();
        long begin = System.nanoTime();
        for (int i = 0; i < 1_000; i++) {
            Message message = new Message(topic, "Tag" + i % 3, "k" + i, ("Hello RocketMQ 你好 " + i).getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("number", Integer.toString(i));
            message.putUserProperty("城市", "上海 " + i);
            message.putUserProperty("emoji", "😀=;,\"'{}");
            message.setFlag(i);
            Check.equal("status", SendStatus.SEND_OK, producer.send(message).getSendStatus());
        }
        stage.note("sent in " + (System.nanoTime() - begin) / 1_000_000 + " ms");
        Received received = new Received();
        stage.concurrent(stage.group("quick"), topic, "*", received);
        received.exactly(1_000, 30);
        for (MessageExt got : received.list()) {
            int i = Integer.parseInt(got.getKeys().substring(1));
            Check.equal("body", "Hello RocketMQ 你好 " + i, new String(got.getBody(), StandardCharsets.UTF_8));
            Check.equal("tag", "Tag" + i % 3, got.getTags());
            Check.equal("number", Integer.toString(i), got.getUserProperty("number"));
            Check.equal("city", "上海 " + i, got.getUserProperty("城市"));
            Check.equal("emoji", "😀=;,\"'{}", got.getUserProperty("emoji"));
            Check.equal("flag", i, got.getFlag());
            Check.equal("topic", topic, got.getTopic());
            Check.equal("reconsumeTimes", 0, got.getReconsumeTimes());
        }
    }

    static void async(Stage stage) throws Exception {
        String topic = stage.created("async", 4);
        DefaultMQProducer producer = stage.producer();
        int n = 500;
        CountDownLatch answered = new CountDownLatch(n);
        Semaphore inFlight = new Semaphore(32);
        AtomicReference<Throwable> failed = new AtomicReference<>();
        for (int i = 0; i < n; i++) {
            inFlight.acquire();
            producer.send(message(topic, "A", i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    inFlight.release();
                    answered.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failed.set(e);
                    inFlight.release();
                    answered.countDown();
                }
            });
        }
        Check.that(answered.await(20, TimeUnit.SECONDS), answered.getCount() + " sends not answered");
        Check.that(failed.get() == null, "a send failed: " + failed.get());
        Received received = new Received();
        stage.concurrent(stage.group("async"), topic, "*", received);
        received.exactly(n, 20);
    }

    static void oneway(Stage stage) throws Exception {
        String topic = stage.created("oneway", 4);
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 200; i++) {
            producer.sendOneway(message(topic, "A", i));
        }
        Received received = new Received();
        stage.concurrent(stage.group("oneway"), topic, "*", received);
        received.exactly(200, 20);
    }

    /** Batches of 32: one answer for each, ids in a comma list, and all entries next to each other in one queue. */
    static void batch(Stage stage) throws Exception {
        String topic = stage.created("batch", 2);
        DefaultMQProducer producer = stage.producer();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        for (int b = 0; b < 4; b++) {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 32; i++) {
                Message message = message(topic, "T" + i % 2, b * 32 + i);
                message.putUserProperty("批", Integer.toString(b));
                batch.add(message);
            }
            SendResult result = producer.send(batch, queue);
            Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
            Check.equal("first offset", b * 32L, result.getQueueOffset());
            Check.equal("client ids", 32, result.getMsgId().split(",").length);
            Check.equal("offset ids", 32, result.getOffsetMsgId().split(",").length);
        }
        List<MessageExt> stored = Pulling.readAll(stage.pull(stage.group("batch")), queue, 0, 128);
        for (int i = 0; i < 128; i++) {
            MessageExt got = stored.get(i);
            Check.equal("key at " + i, "k" + i, got.getKeys());
            Check.equal("offset", (long) i, got.getQueueOffset());
            Check.equal("tag", "T" + i % 2, got.getTags());
            Check.equal("property", Integer.toString(i / 32), got.getUserProperty("批"));
            Check.equal("body", "body " + i, new String(got.getBody(), StandardCharsets.UTF_8));
        }
        Received tagged = new Received();
        stage.concurrent(stage.group("batchtag"), topic, "T1", tagged);
        tagged.exactly(64, 15);
    }

    static void chosenQueue(Stage stage) throws Exception {
        String topic = stage.created("chosen", 4);
        DefaultMQProducer producer = stage.producer();
        MessageQueue third = producer.fetchPublishMessageQueues(topic).stream().filter(q -> q.getQueueId() == 3).findFirst().orElseThrow();
        for (int i = 0; i < 50; i++) {
            SendResult result = producer.send(message(topic, "A", i), third);
            Check.equal("queue", 3, result.getMessageQueue().getQueueId());
            Check.equal("offset", (long) i, result.getQueueOffset());
        }
        DefaultMQPullConsumer consumer = stage.pull(stage.group("chosen"));
        List<MessageExt> stored = Pulling.readAll(consumer, third, 0, 50);
        for (int i = 0; i < 50; i++) {
            Check.equal("key at " + i, "k" + i, stored.get(i).getKeys());
        }
        MessageQueue other = new MessageQueue(topic, third.getBrokerName(), 0);
        PullResult empty = consumer.pull(other, "*", 0, 32);
        Check.equal("another queue", PullStatus.NO_NEW_MSG, empty.getPullStatus());
    }

    /** Eight queues asked for, eight in the route at once, and writable at once. */
    static void createTopic(Stage stage) throws Exception {
        String topic = stage.topic("eight");
        DefaultMQProducer producer = stage.producer();
        Versions.createTopic(producer, topic, 8);
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
        Check.equal("queues in the route", 8L, onOneBroker(queues));
        Set<Integer> ids = new HashSet<>();
        for (int i = 0; i < 32; i++) {
            ids.add(producer.send(message(topic, "A", i)).getMessageQueue().getQueueId());
        }
        Check.equal("queues sent to", 8, ids.size());
        Check.equal("subscribe queues", 8L, onOneBroker(stage.pull(stage.group("eight")).fetchSubscribeMessageQueues(topic)));
    }

    /** A first send to an unknown name makes the topic from TBW102, with the client's four queues. */
    static void autoCreate(Stage stage) throws Exception {
        String topic = stage.topic("auto");
        DefaultMQProducer producer = stage.producer();
        Check.equal("status", SendStatus.SEND_OK, producer.send(message(topic, "A", 0)).getSendStatus());
        Check.equal("queues in the route", 4L, onOneBroker(stage.producer().fetchPublishMessageQueues(topic)));
        Check.equal("queues of TBW102", 8L, onOneBroker(stage.producer().fetchPublishMessageQueues("TBW102")));
    }

    /** A cluster may have several brokers, each with as many queues. */
    private static long onOneBroker(Collection<MessageQueue> queues) {
        String first = queues.iterator().next().getBrokerName();
        return queues.stream().filter(queue -> queue.getBrokerName().equals(first)).count();
    }

    /** What a send's answer and the stored record say of each other. */
    static void answer(Stage stage) throws Exception {
        String topic = stage.created("answer", 1);
        DefaultMQProducer producer = stage.producer();
        SendResult result = producer.send(message(topic, "A", 0));
        Check.equal("length of the id made by the client", true, result.getMsgId().length() == 32 || result.getMsgId().length() == 56);
        Check.that(result.getOffsetMsgId().length() == 32 || result.getOffsetMsgId().length() == 56, "offset id " + result.getOffsetMsgId());
        Check.equal("region", "DefaultRegion", result.getRegionId());
        Check.that(result.isTraceOn(), "trace is off");
        MessageExt got = Pulling.readAll(stage.pull(stage.group("answer")), result.getMessageQueue(), 0, 1).get(0);
        Check.equal("msgId", result.getMsgId(), got.getMsgId());
        Check.equal("offset id", result.getOffsetMsgId(), offsetId(got));
        Check.that(Math.abs(System.currentTimeMillis() - got.getStoreTimestamp()) < 60_000, "store time " + got.getStoreTimestamp());
        Check.that(got.getBornTimestamp() <= got.getStoreTimestamp() + 1_000, "born after stored");
        Check.equal("cluster property", true, got.getProperty("CLUSTER") != null);
    }

    static String offsetId(MessageExt message) throws Exception {
        return (String) message.getClass().getMethod("getOffsetMsgId").invoke(message);
    }

    /** Old clients, and those told to, send to the port two below. */
    static void vipChannel(Stage stage) throws Exception {
        String topic = stage.created("vip", 2);
        DefaultMQProducer producer = stage.unstartedProducer();
        producer.setVipChannelEnabled(true);
        stage.started(producer);
        for (int i = 0; i < 50; i++) {
            Check.equal("status", SendStatus.SEND_OK, producer.send(message(topic, "A", i)).getSendStatus());
        }
        Received received = new Received();
        DefaultMQPushConsumer consumer = received.listening(stage.push(stage.group("vip")), topic, "*");
        consumer.setVipChannelEnabled(true);
        stage.start(consumer);
        received.exactly(50, 25);
    }

    /** The client's own namespaces: prefixes that the broker takes for a part of the names. */
    static void namespace(Stage stage) throws Exception {
        String topic = stage.topic("ns");
        DefaultMQProducer producer = stage.unstartedProducer();
        producer.setNamespace("NS_" + stage.suffix);
        stage.started(producer);
        for (int i = 0; i < 20; i++) {
            producer.send(message(topic, "A", i));
        }
        Received received = new Received();
        DefaultMQPushConsumer consumer = stage.push(stage.group("ns"));
        consumer.setNamespace("NS_" + stage.suffix);
        stage.start(received.listening(consumer, topic, "*"));
        received.exactly(20, 30);
        Check.equal("topic as the user knows it", topic, received.list().get(0).getTopic());
    }

    /** Message trace to a topic of its own. */
    static void trace(Stage stage) throws Exception {
        String topic = stage.created("traced", 1);
        String traces = stage.created("traces", 1);
        DefaultMQProducer producer = new DefaultMQProducer(stage.group("traced"), true, traces);
        producer.setNamesrvAddr(stage.namesrv);
        producer.setInstanceName(Stage.instance());
        stage.started(producer);
        SendResult result = producer.send(message(topic, "A", 0));
        MessageExt trace = Pulling.readAll(stage.pull(stage.group("traces")), new MessageQueue(traces, result.getMessageQueue().getBrokerName(), 0), 0, 1).get(0);
        Check.that(trace.getKeys().contains(result.getMsgId()), "the trace is not about the message: " + trace.getKeys());
    }
}
