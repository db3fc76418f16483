package interop;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Frames written by hand, for what the public client has no call for. JSON headers, one request at a time. */
final class RawClient implements AutoCloseable {
    private final Socket socket;
    private int opaque;

    record Answer(int code, String header, byte[] body) {
        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    RawClient(String address) throws IOException {
        int colon = address.lastIndexOf(':');
        socket = new Socket();
        socket.setSoTimeout(10_000);
        socket.connect(new InetSocketAddress(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1))), 5_000);
    }

    /** Connects to the master of the topic, as the name server announces it. */
    static RawClient at(Stage stage, String topic) throws IOException {
        RawClient client = new RawClient(brokerOf(stage.namesrv, topic));
        stage.onClose(client::close);
        return client;
    }

    static String brokerOf(String namesrv, String topic) throws IOException {
        try (RawClient names = new RawClient(namesrv)) {
            Answer route = names.request(105, Map.of("topic", topic), "");
            Matcher master = Pattern.compile("\"?0\"?:\"([^\"]+)\"").matcher(route.text());
            Check.that(master.find(), "no master in the route: " + route.header() + " " + route.text());
            return master.group(1);
        }
    }

    Answer request(int code, Map<String, String> fields, String body) throws IOException {
        StringBuilder header = new StringBuilder("{\"code\":").append(code).append(",\"language\":\"JAVA\",\"version\":399,\"opaque\":")
            .append(++opaque).append(",\"flag\":0,\"extFields\":{");
        String comma = "";
        for (Map.Entry<String, String> field : fields.entrySet()) {
            header.append(comma).append('"').append(field.getKey()).append("\":\"").append(field.getValue()).append('"');
            comma = ",";
        }
        byte[] head = header.append("}}").toString().getBytes(StandardCharsets.UTF_8);
        byte[] tail = body.getBytes(StandardCharsets.UTF_8);
        DataOutputStream out = new DataOutputStream(socket.getOutputStream());
        byte[] frame = java.nio.ByteBuffer.allocate(8 + head.length + tail.length)
            .putInt(4 + head.length + tail.length).putInt(head.length).put(head).put(tail).array();
        out.write(frame);
        out.flush();
        return read();
    }

    private Answer read() throws IOException {
        DataInputStream in = new DataInputStream(socket.getInputStream());
        int length = in.readInt();
        int headerLength = in.readInt() & 0xFFFFFF;
        byte[] header = in.readNBytes(headerLength);
        byte[] body = in.readNBytes(length - 4 - headerLength);
        String text = new String(header, StandardCharsets.UTF_8);
        Matcher code = Pattern.compile("\"code\":(-?\\d+)").matcher(text);
        Check.that(code.find(), "no code in " + text);
        return new Answer(Integer.parseInt(code.group(1)), text, body);
    }

    void requestMode(String topic, String group, String mode) throws IOException {
        // The mode can only be set for a group that exists: asking for its configuration makes it.
        request(352, Map.of("group", group), "");
        Answer answer = request(401, Map.of(),
            "{\"topic\":\"" + topic + "\",\"consumerGroup\":\"" + group + "\",\"mode\":\"" + mode + "\",\"popShareQueueNum\":0}");
        if (answer.header().contains("does not serve POP")) {
            throw new Versions.Unsupported("the broker does not serve POP");
        }
        Check.equal("SET_MESSAGE_REQUEST_MODE: " + answer.header(), 0, answer.code());
    }

    @Override
    public void close() {
        try {
            socket.close();
        } catch (IOException e) {
            // Nothing left to close.
        }
    }
}
