package interop;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** SQL92 subscriptions. */
final class Sql {
    private Sql() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("sql_push", "sql", 40, Sql::push),
        new Scenario("sql_refused", "sql", 30, Sql::refused));

    static void push(Stage stage) throws Exception {
        String topic = stage.created("sql", 2);
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < 40; i++) {
            Message message = Sending.message(topic, i % 2 == 0 ? "A" : "B", i);
            message.putUserProperty("a", Integer.toString(i));
            message.putUserProperty("地", i % 4 == 0 ? "杭州" : "北京");
            producer.send(message);
        }
        Received received = new Received();
        DefaultMQPushConsumer consumer = stage.push(stage.group("sql"));
        consumer.subscribe(topic, MessageSelector.bySql("(TAGS is not null and TAGS in ('A')) and a between 10 and 29"));
        consumer.registerMessageListener(Stage.taking(received));
        try {
            stage.start(consumer);
        } catch (MQClientException e) {
            throw served(e);
        }
        received.exactly(10, 30);
    }

    static void refused(Stage stage) throws Exception {
        String topic = stage.created("badsql", 1);
        DefaultMQPushConsumer consumer = stage.push(stage.group("badsql"));
        consumer.subscribe(topic, MessageSelector.bySql("a > > 3"));
        consumer.registerMessageListener(Stage.taking(new Received()));
        stage.onClose(consumer::shutdown);
        MQClientException refused = Check.fails(MQClientException.class, () -> {
            consumer.start();
            return null;
        });
        Check.equal("code", 23, served(refused).getResponseCode());
    }

    /** A broker may do without SQL92; it says so then when the consumer starts. */
    private static MQClientException served(MQClientException e) {
        if (String.valueOf(e.getMessage()).contains("does not support consumer to filter message by SQL92")) {
            throw new Versions.Unsupported("the broker does not serve SQL92");
        }
        return e;
    }
}
