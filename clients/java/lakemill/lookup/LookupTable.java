package lakemill.lookup;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;
import lakemill.lookup.LookupTableException.Damaged;
import lakemill.lookup.LookupTableException.Expired;
import lakemill.lookup.LookupTableException.NotPublished;

/**
 * Reads a lookup table that lakemill publishes: from the files under a home, or from Redis.
 *
 * <pre>{@code
 * try (LookupTable table = LookupTable.open("demo/home", "card_fraud")) {    // or "redis://host:6379/0"
 *     table.get(42);                                                         // {score=0.25, ...}, or null
 *     table.getMany(List.of(42, 43));                                        // all from one generation
 *     table.metadata().interval();
 * }
 * }</pre>
 *
 * Needs Java 17 and nothing else. May be used by many threads. The layout that it follows is specified in the README
 * beside this folder.
 */
public final class LookupTable implements AutoCloseable {
    /** How often a read starts again because the table was published anew under it. */
    private static final int TRIES = 32;

    /** By so much the clocks of this machine and of a server may differ, where keys end by both. */
    private static final Duration CLOCKS_APART = Duration.ofSeconds(5);

    private final Store store;
    private final String table;
    private final long checkNanos;
    private volatile Store.Generation opened;
    private volatile long checkedAt;
    private volatile boolean isClosed;

    /**
     * How a table is read.
     *
     * @param prefix that of the keys in Redis
     * @param check how long the pointer to the current generation is believed before it is looked at again; zero:
     *     looked at for every read
     * @param tls whom {@code rediss://} trusts, and with which certificate it shows itself, if any: {@link #trusting}, or
     *     a context of your own; null: whom this Java trusts
     */
    public record Options(String prefix, Duration check, SSLContext tls) {
        /** The prefix {@code lakemill}; the pointer is looked at once a second. */
        public Options() {
            this("lakemill", Duration.ofSeconds(1));
        }

        /** Whom this Java trusts is trusted. */
        public Options(String prefix, Duration check) {
            this(prefix, check, null);
        }
    }

    /**
     * Trusts the authorities in a file of certificates (PEM), and nobody else.
     *
     * @throws IllegalArgumentException where the file holds no certificate
     */
    public static SSLContext trusting(Path authorities) throws IOException {
        try (InputStream file = Files.newInputStream(authorities)) {
            KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
            trusted.load(null, null);
            for (Certificate authority : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                trusted.setCertificateEntry("authority " + trusted.size(), authority);
            }
            if (trusted.size() == 0) {
                throw new IllegalArgumentException("the file of authorities holds no certificate");
            }
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(trusted);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            return context;
        } catch (GeneralSecurityException error) {
            throw new IOException("the file of authorities cannot be used", error);
        }
    }

    private LookupTable(Store store, String table, Duration check) {
        this.store = store;
        this.table = table;
        checkNanos = check.toNanos();
    }

    /** Opens a table with the usual options. */
    public static LookupTable open(String location, String table) throws IOException {
        return open(location, table, new Options());
    }

    /**
     * Opens a table.
     *
     * @param location a home (the folder that holds {@code lookup/}) or the URL of a Redis server, {@code
     *     redis://[[user]:password@]host[:port][/database]}, or {@code rediss://} for TLS; of a cluster the URL of any of
     *     its servers, the others are found by it
     * @throws NotPublished where nothing is published under this name
     * @throws LookupTableException.UnknownFormat where another format is published than this reader knows
     */
    public static LookupTable open(String location, String table, Options options) throws IOException {
        Store store = location.matches("rediss?://.*")
                ? new RedisStore(server(location), factory(options.tls()), options.prefix(), table)
                : new FileStore(Path.of(location), table);
        LookupTable opened = new LookupTable(store, table, options.check());
        try {
            opened.openCurrent();
        } catch (IOException | RuntimeException error) {
            opened.close();
            throw error;
        }
        return opened;
    }

    private static SSLSocketFactory factory(SSLContext tls) {
        return tls == null ? (SSLSocketFactory) SSLSocketFactory.getDefault() : tls.getSocketFactory();
    }

    private static URI server(String location) {
        try {
            URI server = new URI(location);
            if (server.getRawQuery() != null || server.getRawFragment() != null) {
                // Another reader's option would be left out without a word.
                throw new IllegalArgumentException("the URL of a Redis server has no options here; see LookupTable.Options");
            }
            return server;
        } catch (URISyntaxException error) {
            // Its message would show the password.
            throw new IllegalArgumentException("the location of a Redis server is not a URL");
        }
    }

    /** The value under a key, one argument a key column; null where there is no such key. */
    public Map<String, Object> get(Object... key) throws IOException {
        return getMany(List.of(Arrays.asList(key))).get(0);
    }

    /** The values under many keys (lists where the key has several columns), all from one generation. */
    public List<Map<String, Object>> getMany(List<?> keys) throws IOException {
        Answer answer = read(keys);
        List<Map<String, Object>> decoded = new ArrayList<>(keys.size());
        for (String value : answer.values) {
            decoded.add(value == null ? null : Encoding.decodeValue(value, answer.metadata.values()));
        }
        return decoded;
    }

    /** As {@link #get}, but the stored JSON as it is. */
    public String getText(Object... key) throws IOException {
        return getManyTexts(List.of(Arrays.asList(key))).get(0);
    }

    /** As {@link #getMany}, but the stored JSON as it is. */
    public List<String> getManyTexts(List<?> keys) throws IOException {
        return read(keys).values;
    }

    /** What the current generation says about itself. */
    public Metadata metadata() throws IOException {
        return current().metadata();
    }

    /** How long ago the interval ended that the values know: how old they are, whenever published. */
    public Duration age() throws IOException {
        return Duration.between(metadata().intervalEnd(), Instant.now());
    }

    /** Lets go of the connection; a file is given back when nobody refers to this table any more. */
    @Override
    public synchronized void close() throws IOException {
        isClosed = true;
        opened = null;
        store.close();
    }

    private record Answer(List<String> values, Metadata metadata) {}

    private Answer read(List<?> keys) throws IOException {
        Store.Generation generation = current();
        for (int tried = 0; tried < TRIES; tried++) {
            Metadata metadata = generation.metadata();
            List<String> encoded = new ArrayList<>(keys.size());
            for (Object key : keys) {
                encoded.add(encoded(key instanceof List<?> parts ? parts : List.of(key), metadata));
            }
            List<String> values = generation.read(encoded);
            // Nothing found may mean that the generation was removed: only while it is the current one is a
            // missing key known to be missing.
            boolean isSure = generation.stays() || !values.contains(null)
                    || Long.valueOf(metadata.generation()).equals(store.current());
            if (isSure) {
                // Looked at last: where keys have been removed because their time was over, it is over now; by the
                // server's clock it may be over a little earlier.
                Duration early = generation.stays() || !values.contains(null) ? Duration.ZERO : CLOCKS_APART;
                Instant expiresAt = metadata.expiresAt();
                if (expiresAt != null && !Instant.now().plus(early).isBefore(expiresAt)) {
                    throw new Expired(table + ": generation " + metadata.generation() + " has ended at " + expiresAt);
                }
                return new Answer(values, metadata);
            }
            generation = openCurrent();
        }
        throw new LookupTableException(table + ": the table is published faster than it can be read");
    }

    private String encoded(List<?> key, Metadata metadata) {
        List<Column> columns = metadata.key();
        if (key.size() != columns.size()) {
            throw new IllegalArgumentException("a key of " + table + " has " + columns.size() + " columns ("
                    + String.join(", ", columns.stream().map(Column::name).toList()) + "), not " + key.size());
        }
        return Encoding.encodeKey(key);
    }

    private Store.Generation current() throws IOException {
        Store.Generation now = opened;
        if (now != null && System.nanoTime() - checkedAt < checkNanos) {
            return now;
        }
        return check();
    }

    private synchronized Store.Generation check() throws IOException {
        if (isClosed) {
            throw new LookupTableException("the lookup table is closed");
        }
        long now = System.nanoTime();
        // Another thread may have looked while this one waited.
        if (now - checkedAt < checkNanos) {
            return opened;
        }
        if (!Long.valueOf(opened.metadata().generation()).equals(store.current())) {
            return openCurrent();
        }
        checkedAt = now;
        return opened;
    }

    private synchronized Store.Generation openCurrent() throws IOException {
        Long number = store.current();
        for (int tried = 0; tried < TRIES; tried++) {
            if (number == null) {
                throw new NotPublished("nothing is published in the lookup table " + table);
            }
            long now = System.nanoTime();
            try {
                Store.Generation found = store.open(number);
                Metadata metadata = found.metadata();
                if (metadata.generation() != number || !metadata.table().equals(table)) {
                    throw new Damaged("the metadata is that of another generation");
                }
                checkedAt = now;
                opened = found;
                return found;
            } catch (Damaged | NoSuchFileException error) {
                // Was it removed between reading the pointer and opening?
                Long again = store.current();
                if (number.equals(again)) {
                    throw new Damaged(
                            table + ": generation " + number + " is missing or damaged: " + error.getMessage(), error);
                }
                number = again;
            }
        }
        throw new LookupTableException(table + ": the table is published faster than it can be opened");
    }
}
