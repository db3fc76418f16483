package interop;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The smallest and the largest of everything, and one byte more. */
final class Limits {
    private Limits() {}

    private static final int MAX = 4 * 1024 * 1024;

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("size_one_byte", "core", 20, Limits::oneByte),
        new Scenario("size_max", "core", 40, Limits::max),
        new Scenario("size_compressed", "core", 40, Limits::compressed),
        new Scenario("size_over", "core", 20, Limits::over),
        new Scenario("size_batch_max", "more", 30, Limits::batchMax),
        new Scenario("topic_127", "core", 40, Limits::longTopic),
        new Scenario("properties_large", "core", 20, Limits::largeProperties),
        new Scenario("properties_over", "core", 20, Limits::propertiesOver));

    static byte[] noise(int length) {
        byte[] body = new byte[length];
        new Random(length).nextBytes(body);
        return body;
    }

    /** A producer that leaves bodies as they are and leaves the limit to the broker. */
    private static DefaultMQProducer bold(Stage stage) throws Exception {
        DefaultMQProducer producer = stage.unstartedProducer();
        producer.setMaxMessageSize(2 * MAX);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        return stage.started(producer);
    }

    private static MessageExt readBack(Stage stage, SendResult result) throws Exception {
        return Pulling.readAll(stage.pull(stage.group("read")), result.getMessageQueue(), result.getQueueOffset(), 1).get(0);
    }

    static void oneByte(Stage stage) throws Exception {
        String topic = stage.created("one", 1);
        SendResult result = stage.producer().send(new Message(topic, new byte[] {0}));
        MessageExt got = readBack(stage, result);
        Check.equal("body", "[0]", Arrays.toString(got.getBody()));
        Check.equal("tags", null, got.getTags());
    }

    /** Exactly 4 MiB of noise, uncompressed: pulled back, and pushed. */
    static void max(Stage stage) throws Exception {
        String topic = stage.created("max", 1);
        byte[] body = noise(MAX);
        DefaultMQProducer producer = bold(stage);
        for (int i = 0; i < 3; i++) {
            SendResult result = producer.send(new Message(topic, "A", "k" + i, body));
            Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
            Check.that(Arrays.equals(body, readBack(stage, result).getBody()), "the body came back changed");
        }
        Received received = new Received();
        stage.concurrent(stage.group("max"), topic, "*", received);
        received.exactly(3, 25);
        Check.that(received.list().stream().allMatch(m -> Arrays.equals(body, m.getBody())), "a body was pushed changed");
    }

    /** With the client's compression on: a body that shrinks, and one that does not. */
    static void compressed(Stage stage) throws Exception {
        String topic = stage.created("zip", 1);
        DefaultMQProducer producer = stage.producer();
        byte[] text = new byte[MAX];
        for (int i = 0; i < text.length; i++) {
            text[i] = (byte) ('a' + i % 23);
        }
        // Noise grows a little in zlib, and the broker's limit is on what arrives.
        for (byte[] body : List.of(text, noise(MAX - 64 * 1024), noise(5_000))) {
            SendResult result = producer.send(new Message(topic, body));
            MessageExt got = readBack(stage, result);
            Check.that(Arrays.equals(body, got.getBody()), "the body came back changed");
        }
    }

    static void over(Stage stage) throws Exception {
        String topic = stage.created("over", 1);
        DefaultMQProducer producer = bold(stage);
        MQBrokerException refused = Check.fails(MQBrokerException.class, () -> producer.send(new Message(topic, noise(MAX + 1))));
        Check.equal("code", 13, refused.getResponseCode());
        String remark = String.valueOf(refused.getErrorMessage());
        Check.that(remark.contains("4194304") || remark.contains("4 MiB"), "the remark does not name the limit: " + remark);
        Check.equal("the connection goes on", SendStatus.SEND_OK, producer.send(new Message(topic, new byte[] {1})).getSendStatus());
    }

    static void batchMax(Stage stage) throws Exception {
        String topic = stage.created("bmax", 1);
        DefaultMQProducer producer = bold(stage);
        byte[] body = noise(MAX / 4 - 200);
        List<Message> batch = List.of(new Message(topic, body), new Message(topic, body), new Message(topic, body), new Message(topic, body));
        SendResult result = producer.send(batch);
        Check.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        byte[] more = noise(MAX / 4 + 1);
        MQBrokerException refused = Check.fails(MQBrokerException.class,
            () -> producer.send(List.of(new Message(topic, more), new Message(topic, more), new Message(topic, more), new Message(topic, more))));
        // The Apache broker answers 1 here, 13 for a single message.
        Check.that(refused.getResponseCode() == 13 || refused.getResponseCode() == 1, "code " + refused.getResponseCode());
        stage.note("code " + refused.getResponseCode() + ": " + refused.getErrorMessage());
    }

    static void longTopic(Stage stage) throws Exception {
        String stem = stage.topic("long");
        String topic = stem + "x".repeat(127 - stem.length());
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 20; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
        Received received = new Received();
        stage.concurrent(stage.group("long"), topic, "*", received);
        received.exactly(20, 30);
        Check.equal("topic", topic, received.list().get(0).getTopic());
    }

    static void largeProperties(Stage stage) throws Exception {
        String topic = stage.created("props", 1);
        Message message = new Message(topic, "A", "k0", new byte[] {1});
        message.putUserProperty("large", "属".repeat(10_000));
        for (int i = 0; i < 100; i++) {
            message.putUserProperty("p" + i, "v" + i);
        }
        MessageExt got = readBack(stage, stage.producer().send(message));
        Check.equal("property", "属".repeat(10_000), got.getUserProperty("large"));
        Check.equal("p99", "v99", got.getUserProperty("p99"));
    }

    static void propertiesOver(Stage stage) throws Exception {
        String topic = stage.created("propsover", 1);
        DefaultMQProducer producer = stage.producer();
        Message message = new Message(topic, "A", "k0", new byte[] {1});
        message.putUserProperty("large", "x".repeat(33_000));
        MQBrokerException refused = Check.fails(MQBrokerException.class, () -> producer.send(message));
        Check.equal("code", 13, refused.getResponseCode());
        String remark = String.valueOf(refused.getErrorMessage());
        Check.that(remark.contains("32767") || remark.contains("32KB"), "the remark does not name the limit: " + remark);
    }
}
