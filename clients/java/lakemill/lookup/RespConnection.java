package lakemill.lookup;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.URLDecoder;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/** A connection to a Redis server: RESP2, the part of it that reading needs. */
final class RespConnection implements AutoCloseable {
    private static final int TIMEOUT_MILLIS = 5000;
    /** Strings of Redis end at 512 MiB. */
    private static final long MAX_BYTES = 512L << 20;

    /** Below TLS, where there is that. */
    private final Socket plain;
    private final Socket socket;
    private final InputStream replies;

    /**
     * What the server answers.
     *
     * @param text may be null
     * @param no what it says no with, or null; the connection goes on
     */
    record Reply(String text, String no) {
        /** Another server of a cluster keeps the key. */
        boolean isMoved() {
            return no != null && no.matches("MOVED \\d{1,5} \\S*:\\d{1,5}");
        }

        /** The key is on its way to another server of a cluster. */
        boolean isAsk() {
            return no != null && no.matches("ASK \\d{1,5} \\S*:\\d{1,5}");
        }

        /** The slot of the key that is elsewhere. */
        int slot() {
            return Integer.parseInt(no.split(" ")[1]);
        }

        /** Where the key is. Without a host: where {@code from} is, on another port. */
        RedisNode elsewhere(RedisNode from) {
            String to = no.split(" ")[2];
            int colon = to.lastIndexOf(':');
            String host = to.substring(0, colon);
            return new RedisNode(
                    host.isEmpty() || host.equals("?") ? from.host() : host, Integer.parseInt(to.substring(colon + 1)));
        }

        LookupTableException refusal() {
            return new LookupTableException("Redis refuses: " + no);
        }

        /** The text. */
        String orRefusal() throws LookupTableException {
            if (no != null) {
                throw refusal();
            }
            return text;
        }
    }

    /**
     * Connects to a server, and logs in where the URL has a password.
     *
     * @param location {@code redis://[[user]:password@]host[:port][/database]}, or {@code rediss://} for TLS; of a cluster
     *     any server's
     */
    RespConnection(RedisNode node, URI location, SSLSocketFactory tls) throws IOException {
        plain = new Socket();
        try {
            plain.connect(new InetSocketAddress(node.host(), node.port()), TIMEOUT_MILLIS);
            plain.setSoTimeout(TIMEOUT_MILLIS);
            plain.setTcpNoDelay(true);
            socket = "rediss".equals(location.getScheme()) ? encrypted(plain, node, tls) : plain;
            replies = new BufferedInputStream(socket.getInputStream(), 1 << 16);
            for (Reply reply : ask(greeting(location))) {
                reply.orRefusal();
            }
        } catch (IOException | RuntimeException error) {
            plain.close();
            throw error;
        }
    }

    private static Socket encrypted(Socket plain, RedisNode node, SSLSocketFactory tls) throws IOException {
        SSLSocket socket = (SSLSocket) tls.createSocket(plain, node.host(), node.port(), true);
        // Without this Java checks who signed the certificate, but not for whom.
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        socket.startHandshake();
        return socket;
    }

    private static List<List<String>> greeting(URI location) {
        List<List<String>> greeting = new ArrayList<>();
        String who = location.getRawUserInfo();
        if (who != null) {
            int colon = who.indexOf(':');
            String user = colon < 0 ? "" : decoded(who.substring(0, colon));
            String password = decoded(who.substring(colon + 1));
            greeting.add(user.isEmpty() ? List.of("AUTH", password) : List.of("AUTH", user, password));
        }
        String database = location.getPath() == null ? "" : location.getPath().replaceFirst("^/", "");
        if (!database.isEmpty()) {
            greeting.add(List.of("SELECT", database));
        }
        return greeting;
    }

    private static String decoded(String text) {
        // URLDecoder reads forms, where a plus is a space; in a URL it is itself.
        return URLDecoder.decode(text.replace("+", "%2B"), UTF_8);
    }

    /** Sends all commands, then reads the reply to each. */
    List<Reply> ask(List<List<String>> commands) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (List<String> command : commands) {
            write(out, "*" + command.size());
            for (String part : command) {
                byte[] bytes = part.getBytes(UTF_8);
                write(out, "$" + bytes.length);
                out.writeBytes(bytes);
                write(out, "");
            }
        }
        out.writeTo(socket.getOutputStream());
        socket.getOutputStream().flush();
        List<Reply> answers = new ArrayList<>(commands.size());
        for (int index = 0; index < commands.size(); index++) {
            answers.add(reply());
        }
        return answers;
    }

    private static void write(ByteArrayOutputStream out, String line) {
        out.writeBytes((line + "\r\n").getBytes(UTF_8));
    }

    private Reply reply() throws IOException {
        String line = line();
        String rest = line.substring(Math.min(1, line.length()));
        switch (line.isEmpty() ? ' ' : line.charAt(0)) {
            case '+', ':':
                return new Reply(rest, null);
            case '-':
                return new Reply(null, rest);
            case '$':
                return new Reply(bulk(rest), null);
            default:
                throw new IOException("the server does not speak the protocol of Redis");
        }
    }

    private String bulk(String length) throws IOException {
        long bytes;
        try {
            bytes = Long.parseLong(length);
        } catch (NumberFormatException error) {
            throw new IOException("the server does not speak the protocol of Redis", error);
        }
        if (bytes == -1) {
            return null;
        }
        if (bytes < 0 || bytes > MAX_BYTES) {
            throw new IOException("the server sent a length that is out of range");
        }
        byte[] value = replies.readNBytes((int) bytes);
        if (value.length < bytes || replies.readNBytes(2).length < 2) {
            throw new EOFException("the server closed the connection");
        }
        return new String(value, UTF_8);
    }

    private String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int next = replies.read(); next != '\n'; next = replies.read()) {
            if (next < 0) {
                throw new EOFException("the server closed the connection");
            }
            if (line.size() > 1 << 16) {
                throw new IOException("the server sent a line that does not end");
            }
            line.write(next);
        }
        return line.toString(UTF_8).stripTrailing();
    }

    @Override
    public void close() {
        try {
            // TLS would take its leave, and wait for the answer of a server that hangs.
            plain.close();
        } catch (IOException alreadyGone) {
            // Nothing was to be sent any more.
        }
    }
}
