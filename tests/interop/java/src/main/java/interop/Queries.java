package interop;

import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Finding one message again: by its place in the log, by key, by the id its producer gave it. */
final class Queries {
    private Queries() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("view_by_offset_id", "more", 20, Queries::byOffsetId),
        new Scenario("query_by_key", "more", 30, Queries::byKey),
        new Scenario("query_by_unique_key", "more", 30, Queries::byUniqueKey));

    static void byOffsetId(Stage stage) throws Exception {
        String topic = stage.created("view", 2);
        DefaultMQProducer producer = stage.producer();
        SendResult result = null;
        for (int i = 0; i < 5; i++) {
            result = producer.send(Sending.message(topic, "A", i));
        }
        MessageExt got = producer.viewMessage(topic, result.getOffsetMsgId());
        Check.equal("key", "k4", got.getKeys());
        Check.equal("queue offset", result.getQueueOffset(), got.getQueueOffset());
        Check.equal("msgId", result.getMsgId(), got.getMsgId());
    }

    static void byKey(Stage stage) throws Exception {
        String topic = stage.created("query", 2);
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 20; i++) {
            producer.send(new Message(topic, "A", "own" + i + (i % 2 == 0 ? " even" : " odd"), new byte[] {1}));
        }
        long now = System.currentTimeMillis();
        // The Apache broker indexes a little later than it answers.
        Check.until(() -> count(producer, topic, "odd", now) == 10, 10, () -> "of 10 messages with the key were found " + count(producer, topic, "odd", now));
        QueryResult one = producer.queryMessage(topic, "own7", 32, now - 60_000, now + 60_000);
        Check.equal("by its own key", "[own7 odd]", one.getMessageList().stream().map(MessageExt::getKeys).collect(Collectors.toList()).toString());
        Check.equal("with a bound", 3, producer.queryMessage(topic, "even", 3, now - 60_000, now + 60_000).getMessageList().size());
        Check.fails(MQClientException.class, () -> producer.queryMessage(topic, "nobody", 32, now - 60_000, now + 60_000));
    }

    private static int count(DefaultMQProducer producer, String topic, String key, long now) {
        try {
            return producer.queryMessage(topic, key, 32, now - 60_000, now + 60_000).getMessageList().size();
        } catch (MQClientException e) {
            return 0;
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void byUniqueKey(Stage stage) throws Exception {
        String topic = stage.created("unique", 2);
        DefaultMQProducer producer = stage.producer();
        SendResult result = producer.send(Sending.message(topic, "A", 3));
        producer.send(Sending.message(topic, "A", 4));
        MessageExt[] found = {null};
        Check.until(() -> {
            try {
                found[0] = producer.viewMessage(topic, result.getMsgId());
                return found[0] != null;
            } catch (MQClientException e) {
                return false;
            }
        }, 10, () -> "not found by " + result.getMsgId());
        Check.equal("key", "k3", found[0].getKeys());
    }
}
