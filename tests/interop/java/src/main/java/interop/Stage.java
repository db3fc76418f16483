package interop;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * What one scenario plays on: names nobody else uses, and clients (each a connection of its own) that are shut down when it ends,
 * however it ends.
 */
final class Stage implements AutoCloseable {
    private static final AtomicInteger INSTANCES = new AtomicInteger();

    final String namesrv;
    final String suffix;
    private final Deque<Runnable> closing = new ArrayDeque<>();
    private volatile String remark = "";

    Stage(String namesrv, String suffix) {
        this.namesrv = namesrv;
        this.suffix = suffix;
    }

    String topic(String stem) {
        return "t_" + stem + "_" + suffix;
    }

    String group(String stem) {
        return "g_" + stem + "_" + suffix;
    }

    /** Creates the topic through the client, as a user without admin tools would. */
    String created(String stem, int queues) throws Exception {
        String topic = topic(stem);
        Versions.createTopic(producer(), topic, queues);
        return topic;
    }

    DefaultMQProducer producer() throws Exception {
        return started(unstartedProducer());
    }

    DefaultMQProducer unstartedProducer() {
        DefaultMQProducer producer = new DefaultMQProducer(group("p" + INSTANCES.get()));
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(instance());
        return producer;
    }

    <P extends DefaultMQProducer> P started(P producer) throws Exception {
        producer.setSendMsgTimeout(5_000);
        producer.start();
        onClose(producer::shutdown);
        return producer;
    }

    /** Not started: subscribe, register a listener, then {@link #start}. Reads from the first offset unless told otherwise. */
    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        return consumer;
    }

    DefaultMQPushConsumer start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        onClose(consumer::shutdown);
        return consumer;
    }

    DefaultMQPushConsumer concurrent(String group, String topic, String tags, Received into) throws Exception {
        return start(into.listening(push(group), topic, tags));
    }

    DefaultMQPushConsumer orderly(String group, String topic, Received into) throws Exception {
        DefaultMQPushConsumer consumer = push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(into::add);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return start(consumer);
    }

    DefaultLitePullConsumer lite(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    DefaultLitePullConsumer start(DefaultLitePullConsumer consumer) throws Exception {
        consumer.start();
        onClose(consumer::shutdown);
        return consumer;
    }

    DefaultMQPullConsumer pull(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        consumer.start();
        onClose(consumer::shutdown);
        return consumer;
    }

    void onClose(Runnable step) {
        synchronized (closing) {
            closing.push(step);
        }
    }

    /** A word for the report's line: what was measured. */
    void note(String text) {
        remark = remark.isEmpty() ? text : remark + ", " + text;
    }

    String remark() {
        return remark;
    }

    static String instance() {
        // With the process in it: two clients of one id on a broker would take each other's place.
        return "p" + ProcessHandle.current().pid() + "i" + INSTANCES.incrementAndGet();
    }

    @Override
    public void close() {
        while (true) {
            Runnable step;
            synchronized (closing) {
                step = closing.poll();
            }
            if (step == null) {
                return;
            }
            try {
                step.run();
            } catch (RuntimeException e) {
                // A client that cannot even shut down has already failed its scenario.
            }
        }
    }

    /** The listener most scenarios want: takes everything, acknowledges everything. */
    static MessageListenerConcurrently taking(Received into) {
        return (messages, context) -> {
            messages.forEach(into::add);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }
}
