package interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.message.MessageExt;

/** The messages one or more consumers got, in the order they came. */
class Received {
    private final List<MessageExt> all = new ArrayList<>();

    synchronized void add(MessageExt message) {
        all.add(message);
    }

    synchronized List<MessageExt> list() {
        return new ArrayList<>(all);
    }

    synchronized int size() {
        return all.size();
    }

    synchronized int distinct() {
        return (int) all.stream().map(MessageExt::getKeys).distinct().count();
    }

    Map<String, MessageExt> byKey() {
        return list().stream().collect(Collectors.toMap(MessageExt::getKeys, Function.identity(), (a, b) -> a, TreeMap::new));
    }

    DefaultMQPushConsumer listening(DefaultMQPushConsumer consumer, String topic, String tags) throws Exception {
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(Stage.taking(this));
        return consumer;
    }

    /** Waits for n different keys, then looks whether more came than that. */
    void exactly(int n, int seconds) throws Exception {
        Check.until(() -> distinct() >= n, seconds, () -> "received " + distinct() + " of " + n);
        Check.equal("messages received", n, size());
    }

    /** Waits for n different keys; a message twice is allowed (a queue changed hands). */
    void atLeast(int n, int seconds) throws Exception {
        Check.until(() -> distinct() >= n, seconds, () -> "received " + distinct() + " of " + n);
    }
}
