package interop;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** The few places where the 4.9 and the 5.x client have different names for one thing. */
final class Versions {
    private Versions() {}

    /** Thrown by a scenario that this client version cannot play, or that the broker says it does not serve. */
    static final class Unsupported extends RuntimeException {
        Unsupported(String why) {
            super(why);
        }
    }

    static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        for (Method method : DefaultMQProducer.class.getMethods()) {
            if (!method.getName().equals("createTopic")) {
                continue;
            }
            Class<?>[] kinds = method.getParameterTypes();
            if (Arrays.equals(kinds, new Class<?>[] {String.class, String.class, int.class})) {
                call(method, producer, "TBW102", topic, queues);
                return;
            }
            if (Arrays.equals(kinds, new Class<?>[] {String.class, String.class, int.class, Map.class})) {
                call(method, producer, "TBW102", topic, queues, Map.of());
                return;
            }
        }
        throw new Unsupported("no createTopic in this client");
    }

    /** The enum MessageModel lives in another package in each version. */
    static void broadcasting(Object consumer) throws Exception {
        for (Method method : consumer.getClass().getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                Class<?> model = method.getParameterTypes()[0];
                Object value = Arrays.stream(model.getEnumConstants()).filter(v -> v.toString().equals("BROADCASTING")).findFirst().orElseThrow();
                call(method, consumer, value);
                return;
            }
        }
        throw new Unsupported("no setMessageModel in this client");
    }

    static void brokerSideRebalance(Object consumer) throws Exception {
        set(consumer, "setClientRebalance", boolean.class, false);
    }

    static void set(Object target, String setter, Class<?> kind, Object value) throws Exception {
        Method method;
        try {
            method = target.getClass().getMethod(setter, kind);
        } catch (NoSuchMethodException e) {
            throw new Unsupported("no " + setter + " in this client");
        }
        call(method, target, value);
    }

    private static void call(Method method, Object target, Object... arguments) throws Exception {
        try {
            method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Exception cause) {
                throw cause;
            }
            throw e;
        }
    }
}
