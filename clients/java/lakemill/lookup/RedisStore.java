package lakemill.lookup;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import lakemill.lookup.LookupTableException.Damaged;
import lakemill.lookup.LookupTableException.UnknownFormat;

/** The store of a Redis server, over one connection that is made anew when it breaks. */
final class RedisStore implements Store {
    /** The server is asked for at most so many keys in one round trip. */
    private static final int BATCH_KEYS = 1000;

    private final URI location;
    private final String prefix;
    private final String table;
    private RespConnection connection;
    private boolean isClosed;

    RedisStore(URI location, String prefix, String table) {
        this.location = location;
        this.prefix = prefix;
        this.table = table;
    }

    @Override
    public Long current() throws IOException {
        String number = ask(List.of(List.of("GET", prefix + ":" + table + ":current"))).get(0);
        if (number != null && !number.matches("\\d{1,18}")) {
            throw new Damaged("the pointer names no generation: " + number.substring(0, Math.min(40, number.length())));
        }
        return number == null ? null : Long.valueOf(number);
    }

    @Override
    public Generation open(long number) throws IOException {
        String json = ask(List.of(List.of("GET", prefix + ":" + table + ":generation:" + number))).get(0);
        if (json == null) {
            throw new Damaged("its metadata is gone");
        }
        return generation(Metadata.parse(json));
    }

    private Generation generation(Metadata metadata) throws LookupTableException {
        Object layout = metadata.raw().get("layout");
        if ("strings".equals(layout)) {
            return new RedisGeneration(metadata, true, 1);
        }
        if (!"buckets".equals(layout)) {
            throw new UnknownFormat("the generation has the layout " + layout + ", this reader reads buckets and strings");
        }
        if (metadata.raw().get("partitions") instanceof Long count && count > 0 && count <= Integer.MAX_VALUE) {
            return new RedisGeneration(metadata, false, count.intValue());
        }
        throw new Damaged("the generation's metadata has no number of partitions");
    }

    /** The replies to commands that only read; asked a second time over a new connection where the first one breaks. */
    private synchronized List<String> ask(List<List<String>> commands) throws IOException {
        if (isClosed) {
            throw new LookupTableException("the lookup table is closed");
        }
        boolean isFresh = connection == null;
        while (true) {
            try {
                if (connection == null) {
                    connection = new RespConnection(location);
                }
                return connection.ask(commands);
            } catch (RespConnection.Refusal refusal) {
                // An answer, if not the one that was wanted: the connection is whole.
                throw refusal;
            } catch (IOException broken) {
                disconnect();
                if (isFresh) {
                    throw broken;
                }
                isFresh = true;
            }
        }
    }

    private void disconnect() {
        if (connection != null) {
            connection.close();
            connection = null;
        }
    }

    @Override
    public synchronized void close() {
        isClosed = true;
        disconnect();
    }

    /** One generation in Redis. It may be removed under a reader once another one is current. */
    private final class RedisGeneration implements Generation {
        private final Metadata metadata;
        private final boolean isStrings;
        private final int partitions;

        RedisGeneration(Metadata metadata, boolean isStrings, int partitions) {
            this.metadata = metadata;
            this.isStrings = isStrings;
            this.partitions = partitions;
        }

        @Override
        public Metadata metadata() {
            return metadata;
        }

        @Override
        public boolean stays() {
            return false;
        }

        @Override
        public List<String> read(List<String> keys) throws IOException {
            List<String> values = new ArrayList<>(keys.size());
            for (int start = 0; start < keys.size(); start += BATCH_KEYS) {
                List<String> batch = keys.subList(start, Math.min(keys.size(), start + BATCH_KEYS));
                values.addAll(ask(batch.stream().map(this::command).toList()));
            }
            return values;
        }

        private List<String> command(String key) {
            if (isStrings) {
                return List.of("GET", prefix + ":" + table + ":" + metadata.generation() + ":" + key);
            }
            int bucket = Encoding.partitionOf(key.getBytes(UTF_8), partitions);
            return List.of("HGET", prefix + ":{" + table + ":" + bucket + "}:" + metadata.generation(), key);
        }
    }
}
