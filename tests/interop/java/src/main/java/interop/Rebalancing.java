package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Clustering: two and three consumers share the queues; one joins, leaves, is killed. */
final class Rebalancing {
    private Rebalancing() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("clustering_join_leave", "core", 90, Rebalancing::joinLeave),
        new Scenario("clustering_killed", "core", 90, Rebalancing::killed));

    private static final int QUEUES = 8;

    /** Queues of a topic that the consumer holds now. */
    static Set<Integer> queuesOf(DefaultMQPushConsumer consumer, String topic) {
        Set<Integer> ids = new HashSet<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                ids.add(queue.getQueueId());
            }
        }
        return ids;
    }

    /** Whether the consumer has been given the topic to pop from (5.x only, hence by name). */
    static boolean popsFrom(DefaultMQPushConsumer consumer, String topic) throws ReflectiveOperationException {
        Object rebalance = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl();
        Map<?, ?> table = (Map<?, ?>) rebalance.getClass().getMethod("getPopProcessQueueTable").invoke(rebalance);
        return table.keySet().stream().anyMatch(queue -> ((MessageQueue) queue).getTopic().equals(topic));
    }

    /** Waits until the given consumers hold all queues between them, none twice, each its fair share. */
    private static long shared(List<DefaultMQPushConsumer> consumers, String topic) throws Exception {
        return Check.until(() -> {
            Set<Integer> all = new HashSet<>();
            int sum = 0;
            for (DefaultMQPushConsumer consumer : consumers) {
                Set<Integer> own = queuesOf(consumer, topic);
                if (own.size() < QUEUES / consumers.size() || own.size() > (QUEUES + consumers.size() - 1) / consumers.size()) {
                    return false;
                }
                all.addAll(own);
                sum += own.size();
            }
            return all.size() == QUEUES && sum == QUEUES;
        }, 25, () -> "shares " + consumers.stream().map(c -> queuesOf(c, topic)).toList());
    }

    private static void send(DefaultMQProducer producer, String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            producer.send(Sending.message(topic, "A", i));
        }
    }

    static void joinLeave(Stage stage) throws Exception {
        String topic = stage.created("join", QUEUES);
        String group = stage.group("join");
        DefaultMQProducer producer = stage.producer();
        Received everything = new Received();
        List<Received> each = new ArrayList<>();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        int sent = 0;
        for (int n = 1; n <= 3; n++) {
            Received own = new Received();
            each.add(own);
            DefaultMQPushConsumer consumer = stage.push(group);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(everything::add);
                messages.forEach(own::add);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumers.add(stage.start(consumer));
            stage.note(n + " share after " + shared(consumers, topic) + " ms");
            send(producer, topic, sent, sent + 80);
            sent += 80;
            everything.atLeast(sent, 25);
        }
        Check.that(each.get(2).size() >= 16, "the third consumer got only " + each.get(2).size());
        consumers.remove(1).shutdown();
        stage.note("left after " + shared(consumers, topic) + " ms");
        send(producer, topic, sent, sent + 80);
        everything.atLeast(sent + 80, 25);
        // Messages may come twice while a queue changes hands, but hardly many of them.
        Check.between("deliveries", sent + 80, sent + 80 + 40, everything.size());
    }

    /** The second consumer lives in a process of its own, which is destroyed without a word. */
    static void killed(Stage stage) throws Exception {
        String topic = stage.created("killed", QUEUES);
        String group = stage.group("killed");
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        DefaultMQPushConsumer survivor = stage.concurrent(group, topic, "*", received);
        shared(List.of(survivor), topic);
        Child child = Child.start(stage, "--child-consumer", topic, group);
        Check.until(() -> queuesOf(survivor, topic).size() == QUEUES / 2, 40, () -> "the child did not join");
        send(producer, topic, 0, 160);
        Check.until(() -> child.union(received) == 160, 25, () -> "consumed " + child.union(received) + " of 160");
        Check.that(child.size() > 0, "the child consumed nothing");
        child.kill();
        long after = Check.until(() -> queuesOf(survivor, topic).size() == QUEUES, 25, () -> "the survivor holds " + queuesOf(survivor, topic));
        stage.note("taken over " + after + " ms after the kill");
        send(producer, topic, 160, 240);
        Check.until(() -> child.union(received) == 240, 25, () -> "consumed " + child.union(received) + " of 240");
    }

    /** A consumer in a process of its own, and the keys of what it consumed. */
    static final class Child {
        private final Process process;
        private final Set<String> keys = ConcurrentHashMap.newKeySet();

        private Child(Process process) {
            this.process = process;
        }

        static Child start(Stage stage, String mode, String topic, String group) throws IOException {
            Child child = new Child(new ProcessBuilder(ProcessHandle.current().info().command().orElse("java"), "-Xmx128m",
                "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"), "interop.Main", mode, stage.namesrv, topic, group)
                .redirectError(ProcessBuilder.Redirect.DISCARD).start());
            stage.onClose(child.process::destroyForcibly);
            Thread reader = new Thread(() -> {
                try (BufferedReader lines = child.process.inputReader()) {
                    lines.lines().filter(line -> line.startsWith("k")).forEach(child.keys::add);
                } catch (IOException | UncheckedIOException e) {
                    // The process is gone, as intended.
                }
            });
            reader.setDaemon(true);
            reader.start();
            return child;
        }

        void kill() throws InterruptedException {
            process.destroyForcibly().waitFor(5, TimeUnit.SECONDS);
        }

        int size() {
            return keys.size();
        }

        /** How many different messages came, here or there. */
        int union(Received received) {
            Set<String> all = new HashSet<>(keys);
            received.list().forEach(m -> all.add(m.getKeys()));
            return all.size();
        }
    }

    /** The process to be killed: prints the key of every message it consumes. */
    static void child(boolean orderly, String namesrv, String topic, String group) throws Exception {
        Stage stage = new Stage(namesrv, "child");
        Received received = new Received() {
            @Override
            synchronized void add(MessageExt message) {
                System.out.println(message.getKeys());
            }
        };
        if (orderly) {
            stage.orderly(group, topic, received);
        } else {
            stage.concurrent(group, topic, "*", received);
        }
        Thread.currentThread().join();
    }
}
