package interop;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Half messages: committed, rolled back, and asked about. */
final class Transactions {
    private Transactions() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("transaction_ends", "more", 40, Transactions::ends),
        new Scenario("transaction_check_back", "slow", 120, Transactions::checkBack));

    private static TransactionMQProducer producer(Stage stage, LocalTransactionState even, AtomicInteger checks) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(stage.group("tx"));
        producer.setNamesrvAddr(stage.namesrv);
        producer.setInstanceName(Stage.instance());
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object number) {
                return (Integer) number % 2 == 0 ? even : LocalTransactionState.ROLLBACK_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                checks.incrementAndGet();
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        return stage.started(producer);
    }

    static void ends(Stage stage) throws Exception {
        String topic = stage.created("tx", 2);
        TransactionMQProducer producer = producer(stage, LocalTransactionState.COMMIT_MESSAGE, new AtomicInteger());
        Received received = new Received();
        stage.concurrent(stage.group("txc"), topic, "*", received);
        for (int i = 0; i < 20; i++) {
            producer.sendMessageInTransaction(Sending.message(topic, "A", i), i);
        }
        received.exactly(10, 25);
        Check.that(received.list().stream().allMatch(m -> Integer.parseInt(m.getKeys().substring(1)) % 2 == 0), "a rolled back message came");
    }

    static void checkBack(Stage stage) throws Exception {
        String topic = stage.created("check", 1);
        AtomicInteger checks = new AtomicInteger();
        TransactionMQProducer producer = producer(stage, LocalTransactionState.UNKNOW, checks);
        Received received = new Received();
        stage.concurrent(stage.group("checkc"), topic, "*", received);
        producer.sendMessageInTransaction(Sending.message(topic, "A", 0), 0);
        // Twice is legal: the broker may ask again before the first answer has arrived.
        received.atLeast(1, 100);
        Check.that(checks.get() >= 1, "committed without a check");
    }
}
