package lakemill.lookup;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;

/** A server of Redis, alone or of a cluster. */
record RedisNode(String host, int port) {
    private static final int DEFAULT_PORT = 6379;
    private static final int SLOTS = 16384;

    /** The server that a URL names. */
    static RedisNode of(URI location) {
        String host = location.getHost();
        if (host == null) {
            throw new IllegalArgumentException("the URL of a Redis server has no host");
        }
        if (host.startsWith("[")) {
            host = host.substring(1, host.length() - 1);
        }
        return new RedisNode(host, location.getPort() < 0 ? DEFAULT_PORT : location.getPort());
    }

    /** The part of a cluster that a key belongs to: the CRC-16 (XMODEM) of its hash tag, or of all of it. */
    static int slot(String key) {
        int open = key.indexOf('{');
        int close = open < 0 ? -1 : key.indexOf('}', open);
        String hashed = close > open + 1 ? key.substring(open + 1, close) : key;
        int crc = 0;
        for (byte next : hashed.getBytes(UTF_8)) {
            crc ^= (next & 0xff) << 8;
            for (int bit = 0; bit < 8; bit++) {
                crc = (crc & 0x8000) == 0 ? crc << 1 : crc << 1 ^ 0x1021;
            }
        }
        return (crc & 0xffff) % SLOTS;
    }
}
