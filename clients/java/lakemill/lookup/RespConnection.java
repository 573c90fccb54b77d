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
    private static final int DEFAULT_PORT = 6379;
    /** Strings of Redis end at 512 MiB. */
    private static final long MAX_BYTES = 512L << 20;

    private final Socket socket;
    private final InputStream replies;

    /** What the server says no with. The connection goes on. */
    static final class Refusal extends LookupTableException {
        private static final long serialVersionUID = 1;

        Refusal(String message) {
            super(message);
        }
    }

    /**
     * Connects, and logs in where the URL has a password.
     *
     * @param location {@code redis://[[user]:password@]host[:port][/database]}, or {@code rediss://} for TLS
     */
    RespConnection(URI location) throws IOException {
        String host = location.getHost();
        if (host == null) {
            throw new IllegalArgumentException("the URL of a Redis server has no host");
        }
        if (host.startsWith("[")) {
            host = host.substring(1, host.length() - 1);
        }
        int port = location.getPort() < 0 ? DEFAULT_PORT : location.getPort();
        Socket plain = new Socket();
        try {
            plain.connect(new InetSocketAddress(host, port), TIMEOUT_MILLIS);
            plain.setSoTimeout(TIMEOUT_MILLIS);
            plain.setTcpNoDelay(true);
            socket = "rediss".equals(location.getScheme()) ? encrypted(plain, host, port) : plain;
            replies = new BufferedInputStream(socket.getInputStream(), 1 << 16);
            List<List<String>> greeting = greeting(location);
            if (!greeting.isEmpty()) {
                ask(greeting);
            }
        } catch (IOException | RuntimeException error) {
            plain.close();
            throw error;
        }
    }

    private static Socket encrypted(Socket plain, String host, int port) throws IOException {
        SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
        SSLSocket socket = (SSLSocket) factory.createSocket(plain, host, port, true);
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

    /** Sends all commands, then reads the reply to each: text, or null. */
    List<String> ask(List<List<String>> commands) throws IOException {
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
        List<String> answers = new ArrayList<>(commands.size());
        Refusal refused = null;
        for (int index = 0; index < commands.size(); index++) {
            try {
                answers.add(reply());
            } catch (Refusal refusal) {
                // The other replies are on their way all the same.
                refused = refused == null ? refusal : refused;
            }
        }
        if (refused != null) {
            throw refused;
        }
        return answers;
    }

    private static void write(ByteArrayOutputStream out, String line) {
        out.writeBytes((line + "\r\n").getBytes(UTF_8));
    }

    private String reply() throws IOException {
        String line = line();
        String rest = line.substring(Math.min(1, line.length()));
        switch (line.isEmpty() ? ' ' : line.charAt(0)) {
            case '+', ':':
                return rest;
            case '-':
                String hint = rest.startsWith("MOVED") ? " (a cluster, which this reader cannot follow)" : "";
                throw new Refusal("Redis refuses: " + rest + hint);
            case '$':
                return bulk(rest);
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
            socket.close();
        } catch (IOException alreadyGone) {
            // Nothing was to be sent any more.
        }
    }
}
