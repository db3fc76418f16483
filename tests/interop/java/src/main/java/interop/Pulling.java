package interop;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The consumers that ask for themselves: DefaultMQPullConsumer and DefaultLitePullConsumer. */
final class Pulling {
    private Pulling() {}

    static final List<Scenario> SCENARIOS = List.of(
        new Scenario("lite_subscribe", "core", 40, Pulling::liteSubscribe),
        new Scenario("lite_assign_seek", "core", 40, Pulling::liteAssignSeek),
        new Scenario("pull_consumer", "core", 30, Pulling::pullConsumer),
        new Scenario("pull_tags", "core", 20, Pulling::pullTags),
        new Scenario("pull_long_poll", "core", 40, Pulling::longPoll),
        new Scenario("pull_outside", "more", 20, Pulling::outside),
        new Scenario("pull_unknown_topic", "more", 20, Pulling::unknownTopic),
        new Scenario("search_offset", "core", 20, Pulling::searchOffset));

    /** Reads n messages of a queue one answer after the other; none may be missing or doubled. */
    static List<MessageExt> readAll(DefaultMQPullConsumer consumer, MessageQueue queue, long from, int n) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        long next = from;
        long end = System.nanoTime() + 15_000_000_000L;
        while (all.size() < n) {
            Check.that(System.nanoTime() < end, "read only " + all.size() + " of " + n + " from " + queue);
            PullResult result = consumer.pull(queue, "*", next, 32);
            if (result.getPullStatus() == PullStatus.FOUND) {
                for (MessageExt message : result.getMsgFoundList()) {
                    Check.equal("offset after " + (next - 1), next, message.getQueueOffset());
                    next++;
                    all.add(message);
                }
                Check.equal("nextBeginOffset", next, result.getNextBeginOffset());
            } else {
                // One-way sends and the Apache broker's index arrive a little later than the pull.
                Thread.sleep(20);
            }
        }
        return all;
    }

    static void fill(Stage stage, String topic, int n) throws Exception {
        DefaultMQProducer producer = stage.producer();
        for (int i = 0; i < n; i++) {
            producer.send(Sending.message(topic, i % 2 == 0 ? "A" : "B", i));
        }
    }

    static void liteSubscribe(Stage stage) throws Exception {
        String topic = stage.created("lite", 4);
        fill(stage, topic, 100);
        DefaultLitePullConsumer consumer = stage.lite(stage.group("lite"));
        consumer.subscribe(topic, "A");
        stage.start(consumer);
        Set<String> keys = poll(consumer, 50);
        Check.that(keys.stream().allMatch(k -> Integer.parseInt(k.substring(1)) % 2 == 0), "a wrong tag came through");
        consumer.commitSync();
    }

    private static Set<String> poll(DefaultLitePullConsumer consumer, int n) throws Exception {
        Set<String> keys = new TreeSet<>();
        int[] count = {0};
        Check.until(() -> {
            for (MessageExt message : consumer.poll(200)) {
                keys.add(message.getKeys());
                count[0]++;
            }
            return keys.size() >= n;
        }, 20, () -> "polled " + keys.size() + " of " + n);
        Check.equal("messages polled", n, count[0]);
        return keys;
    }

    static void liteAssignSeek(Stage stage) throws Exception {
        String topic = stage.created("seek", 2);
        fill(stage, topic, 60);
        DefaultLitePullConsumer consumer = stage.lite(stage.group("seek"));
        consumer.setAutoCommit(false);
        stage.start(consumer);
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Check.equal("queues", 2, queues.size());
        consumer.assign(queues);
        Map<MessageQueue, Long> seekTo = new HashMap<>();
        for (MessageQueue queue : queues) {
            consumer.seek(queue, 20);
            seekTo.put(queue, 20L);
        }
        Check.equal("after seek(20)", 20, poll(consumer, 20).size());
        for (MessageQueue queue : queues) {
            consumer.seekToBegin(queue);
        }
        Check.equal("after seekToBegin", 60, poll(consumer, 60).size());
        consumer.commitSync();
        for (MessageQueue queue : queues) {
            Check.until(() -> consumer.committed(queue) == 30, 10, () -> "committed " + queue);
        }
    }

    static void pullConsumer(Stage stage) throws Exception {
        String topic = stage.created("pull", 2);
        fill(stage, topic, 80);
        DefaultMQPullConsumer consumer = stage.pull(stage.group("pull"));
        Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(topic);
        Check.equal("queues", 2, queues.size());
        for (MessageQueue queue : queues) {
            Check.equal("max", 40L, consumer.maxOffset(queue));
            Check.equal("min", 0L, consumer.minOffset(queue));
            Check.equal("read", 40, readAll(consumer, queue, 0, 40).size());
            PullResult ten = consumer.pull(queue, "*", 5, 10);
            Check.equal("ten asked", 10, ten.getMsgFoundList().size());
            Check.equal("maxOffset of the answer", 40L, ten.getMaxOffset());
            Check.equal("minOffset of the answer", 0L, ten.getMinOffset());
            consumer.updateConsumeOffset(queue, 25);
            consumer.getOffsetStore().updateConsumeOffsetToBroker(queue, 25, false);
            Check.equal("offset kept", 25L, consumer.fetchConsumeOffset(queue, true));
        }
    }

    static void pullTags(Stage stage) throws Exception {
        String topic = stage.created("ptags", 1);
        fill(stage, topic, 20);
        DefaultMQPullConsumer consumer = stage.pull(stage.group("ptags"));
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        PullResult result = consumer.pull(queue, "B", 0, 32);
        Check.equal("status", PullStatus.FOUND, result.getPullStatus());
        Check.equal("tag B", 10, result.getMsgFoundList().size());
        Check.equal("next", 20L, result.getNextBeginOffset());
        PullResult none = consumer.pull(queue, "Z", 0, 32);
        Check.equal("tag Z", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        Check.equal("next after no match", 20L, none.getNextBeginOffset());
    }

    /** A pull that waits is answered by the message it waits for, at once. */
    static void longPoll(Stage stage) throws Exception {
        String topic = stage.created("poll", 1);
        DefaultMQPullConsumer consumer = stage.pull(stage.group("poll"));
        DefaultMQProducer producer = stage.producer();
        fill(stage, topic, 1);
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        long[] sent = {0};
        Thread later = new Thread(() -> {
            try {
                Thread.sleep(1_000);
                sent[0] = System.nanoTime();
                producer.send(Sending.message(topic, "A", 7));
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        later.start();
        PullResult result = consumer.pullBlockIfNotFound(queue, "*", 1, 32);
        long waited = (System.nanoTime() - sent[0]) / 1_000_000;
        Check.equal("status", PullStatus.FOUND, result.getPullStatus());
        Check.equal("key", "k7", result.getMsgFoundList().get(0).getKeys());
        Check.that(waited < 2_000, "the held pull was answered " + waited + " ms after the send");
        stage.note("answered after " + waited + " ms");
    }

    static void outside(Stage stage) throws Exception {
        String topic = stage.created("out", 1);
        fill(stage, topic, 10);
        DefaultMQPullConsumer consumer = stage.pull(stage.group("out"));
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        PullResult end = consumer.pull(queue, "*", 10, 32);
        Check.equal("at the end", PullStatus.NO_NEW_MSG, end.getPullStatus());
        Check.equal("next at the end", 10L, end.getNextBeginOffset());
        PullResult beyond = consumer.pull(queue, "*", 1_000, 32);
        Check.equal("beyond", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Check.equal("next beyond", 10L, beyond.getNextBeginOffset());
        MQBrokerException refused = Check.fails(MQBrokerException.class,
            () -> consumer.pull(new MessageQueue(topic, queue.getBrokerName(), 77), "*", 0, 32));
        Check.equal("queue 77", 29, refused.getResponseCode());
    }

    static void unknownTopic(Stage stage) throws Exception {
        String topic = stage.created("known", 1);
        DefaultMQPullConsumer consumer = stage.pull(stage.group("unknown"));
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        // The 5.x client learns the broker's address with its first pull of a topic that exists.
        consumer.pull(queue, "*", 0, 32);
        MessageQueue nowhere = new MessageQueue(stage.topic("nowhere"), queue.getBrokerName(), 0);
        MQBrokerException refused = Check.fails(MQBrokerException.class, () -> consumer.pull(nowhere, "*", 0, 32));
        Check.equal("code", 17, refused.getResponseCode());
    }

    static void searchOffset(Stage stage) throws Exception {
        String topic = stage.created("search", 1);
        fill(stage, topic, 10);
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        fill(stage, topic, 10);
        DefaultMQPullConsumer consumer = stage.pull(stage.group("search"));
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        Check.until(() -> consumer.maxOffset(queue) == 20, 5, () -> "max offset");
        Check.equal("between", 10L, consumer.searchOffset(queue, between));
        Check.equal("before all", 0L, consumer.searchOffset(queue, between - 3_600_000));
        Check.equal("after all", 20L, consumer.searchOffset(queue, between + 3_600_000));
    }
}
