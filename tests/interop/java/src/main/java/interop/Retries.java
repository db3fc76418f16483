package interop;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Messages a listener refuses, messages given up, messages for later. */
final class Retries {
    private Retries() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("retry_once", "slow", 90, Retries::once),
        new Scenario("dead_letter", "slow", 60, Retries::deadLetter),
        new Scenario("delay_level_one", "more", 30, Retries::delayLevelOne));

    private static DefaultMQPushConsumer refusing(Stage stage, String group, String topic, Received received, int times) throws Exception {
        DefaultMQPushConsumer consumer = stage.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(received::add);
            return messages.get(0).getReconsumeTimes() < times ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return consumer;
    }

    /** Refused once: comes again after delay level 3 (10 s), once, counted, under its own topic and with its own id. */
    static void once(Stage stage) throws Exception {
        String topic = stage.created("retry", 2);
        Received received = new Received();
        stage.start(refusing(stage, stage.group("retry"), topic, received, 1));
        stage.producer().send(Sending.message(topic, "A", 0));
        long after = Check.until(() -> received.size() >= 2, 80, () -> "came " + received.size() + " times");
        MessageExt first = received.list().get(0);
        MessageExt second = received.list().get(1);
        Check.equal("first reconsumeTimes", 0, first.getReconsumeTimes());
        Check.equal("second reconsumeTimes", 1, second.getReconsumeTimes());
        Check.equal("topic", topic, second.getTopic());
        Check.equal("msgId", first.getMsgId(), second.getMsgId());
        Check.equal("tags", "A", second.getTags());
        stage.note("again after " + after + " ms");
    }

    /** With no retry allowed a refused message goes to the dead-letter queue at once. */
    static void deadLetter(Stage stage) throws Exception {
        String topic = stage.created("dead", 1);
        String group = stage.group("dead");
        Received received = new Received();
        DefaultMQPushConsumer consumer = refusing(stage, group, topic, received, 99);
        consumer.setMaxReconsumeTimes(0);
        stage.start(consumer);
        stage.producer().send(Sending.message(topic, "A", 5));
        received.atLeast(1, 30);
        DefaultMQPullConsumer reader = stage.pull(stage.group("dlq"));
        MessageQueue[] dead = {null};
        Check.until(() -> {
            try {
                dead[0] = reader.fetchSubscribeMessageQueues("%DLQ%" + group).iterator().next();
                return true;
            } catch (org.apache.rocketmq.client.exception.MQClientException e) {
                return false;
            }
        }, 20, () -> "no route for the dead-letter queue");
        MessageExt got = Pulling.readAll(reader, dead[0], 0, 1).get(0);
        Check.equal("key", "k5", got.getKeys());
        Check.equal("RETRY_TOPIC", topic, got.getProperty("RETRY_TOPIC"));
    }

    static void delayLevelOne(Stage stage) throws Exception {
        String topic = stage.created("delay", 2);
        Received received = new Received();
        stage.concurrent(stage.group("delay"), topic, "*", received);
        DefaultMQProducer producer = stage.producer();
        producer.send(Sending.message(topic, "A", 0));
        received.exactly(1, 20);
        Message later = Sending.message(topic, "A", 1);
        later.setDelayTimeLevel(1);
        producer.send(later);
        long after = Check.until(() -> received.size() == 2, 10, () -> "the delayed message did not come");
        Check.that(after >= 900, "came " + after + " ms after the send");
        Check.equal("key", "k1", received.list().get(1).getKeys());
        stage.note("after " + after + " ms");
    }
}
