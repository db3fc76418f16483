package interop;

import java.util.List;
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
        new Scenario("pop_consume", "pop", 90, Pops::pop));

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
}
