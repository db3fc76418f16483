package interop;

import java.net.Inet6Address;
import java.net.InetSocketAddress;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Client and broker meeting over IPv6: both hosts in the record are 16 bytes long, sysFlag says so, and ids have 56 digits.
 * The name server is reached by [::1] unless its address is an IPv6 one already (run.sh does that in a network namespace whose only
 * global address is IPv6, where the Java client's own message ids become 56 digits long too).
 */
final class Ipv6 {
    private Ipv6() {}

    static final List<Scenario> SCENARIOS = List.of(new Scenario("ipv6", "ipv6", 60, Ipv6::overIpv6));

    private static final int BORN_HOST_V6 = 0x10;
    private static final int STORE_HOST_V6 = 0x20;

    static void overIpv6(Stage given) throws Exception {
        int colon = given.namesrv.lastIndexOf(':');
        boolean already = given.namesrv.indexOf(':') != colon;
        String namesrv = already ? given.namesrv : "[::1]" + given.namesrv.substring(colon);
        Stage stage = new Stage(namesrv, given.suffix);
        given.onClose(stage::close);
        String broker = RawClient.brokerOf(namesrv, "TBW102");
        if (broker.indexOf(':') == broker.lastIndexOf(':')) {
            throw new Versions.Unsupported("the broker announces " + broker + " over IPv6 too");
        }
        String topic = stage.created("six", 2);
        DefaultMQProducer producer = stage.producer();
        Received received = new Received();
        stage.concurrent(stage.group("six"), topic, "A", received);
        SendResult result = null;
        for (int i = 0; i < 20; i++) {
            Message message = Sending.message(topic, "A", i);
            result = producer.send(message);
            Check.equal("offset id digits", 56, result.getOffsetMsgId().length());
        }
        received.exactly(20, 30);
        for (MessageExt got : received.list()) {
            Check.equal("V6 bits", BORN_HOST_V6 | STORE_HOST_V6, got.getSysFlag() & (BORN_HOST_V6 | STORE_HOST_V6));
            Check.that(((InetSocketAddress) got.getBornHost()).getAddress() instanceof Inet6Address, "born at " + got.getBornHost());
            Check.that(((InetSocketAddress) got.getStoreHost()).getAddress() instanceof Inet6Address, "stored at " + got.getStoreHost());
            Check.equal("offset id digits", 56, Sending.offsetId(got).length());
        }
        MessageExt viewed = producer.viewMessage(topic, result.getOffsetMsgId());
        Check.equal("viewed by its offset id", "k19", viewed.getKeys());
        given.note("broker " + broker + ", client ids of " + result.getMsgId().length() + " digits");
    }
}
