package interop;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Request and reply over a topic. */
final class Replies {
    private Replies() {}

    static final List<Scenario> SCENARIOS = List.of(new Scenario("request_reply", "more", 60, Replies::requestReply));

    static void requestReply(Stage stage) throws Exception {
        String topic = stage.created("rpc", 2);
        DefaultMQProducer replier = stage.producer();
        DefaultMQPushConsumer consumer = stage.push(stage.group("rpc"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt request : messages) {
                try {
                    byte[] body = ("答 " + new String(request.getBody(), StandardCharsets.UTF_8)).getBytes(StandardCharsets.UTF_8);
                    replier.send(MessageUtil.createReplyMessage(request, body), 3_000);
                } catch (Exception e) {
                    stage.note(e.toString());
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        stage.start(consumer);
        DefaultMQProducer asking = stage.producer();
        Check.until(() -> Rebalancing.queuesOf(consumer, topic).size() == 2, 30, () -> "no queues");
        long begin = System.nanoTime();
        for (int i = 0; i < 5; i++) {
            // Of the client's six ways to ask, 4.9.8 and 5.3.3 alike give up on some as soon as the request is stored; this one waits.
            CompletableFuture<Message> answer = new CompletableFuture<>();
            asking.request(new Message(topic, ("ask " + i).getBytes(StandardCharsets.UTF_8)), (queues, message, n) -> queues.get((Integer) n % 2), i,
                new RequestCallback() {
                    @Override
                    public void onSuccess(Message reply) {
                        answer.complete(reply);
                    }

                    @Override
                    public void onException(Throwable e) {
                        answer.completeExceptionally(e);
                    }
                }, 8_000);
            Message reply;
            try {
                reply = answer.get(10, TimeUnit.SECONDS);
            } catch (ExecutionException e) {
                throw new Check.Failed("no reply to request " + i + ": " + e.getCause() + "; the replier saw: " + stage.remark());
            }
            Check.equal("reply", "答 ask " + i, new String(reply.getBody(), StandardCharsets.UTF_8));
        }
        stage.note("5 replies in " + (System.nanoTime() - begin) / 1_000_000 + " ms");
    }
}
