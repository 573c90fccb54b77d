package lakemill.lookup;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import javax.net.ssl.SSLSocketFactory;
import lakemill.lookup.LookupTableException.Damaged;
import lakemill.lookup.LookupTableException.UnknownFormat;

/**
 * The store of a Redis server or cluster, over one connection a server, which is made anew when it breaks. Which server of
 * a cluster keeps a key is learnt from what the servers themselves say.
 */
final class RedisStore implements Store {
    /** The server is asked for at most so many keys in one round trip. */
    private static final int BATCH_KEYS = 1000;

    /** How often keys are asked for that are said to be elsewhere, or whose connection broke. */
    private static final int TRIES = 8;

    private final URI location;
    private final SSLSocketFactory tls;
    private final String prefix;
    private final String table;
    private final Map<RedisNode, RespConnection> connections = new LinkedHashMap<>();
    /** Who keeps the slots that have been asked for; of a single server nothing. */
    private final Map<Integer, RedisNode> owners = new LinkedHashMap<>();
    /** Who is asked for any other slot. */
    private RedisNode start;
    private boolean isClosed;

    /** The server at {@code location}; nothing is asked of it yet. */
    RedisStore(URI location, SSLSocketFactory tls, String prefix, String table) {
        this.location = location;
        this.tls = tls;
        this.prefix = prefix;
        this.table = table;
        start = RedisNode.of(location);
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

    /** The replies to commands that only read, each about the key that is its second word. */
    private synchronized List<String> ask(List<List<String>> commands) throws IOException {
        String[] texts = new String[commands.size()];
        List<Integer> open = IntStream.range(0, texts.length).boxed().toList();
        Exception last = null;
        for (int tried = 0; tried < TRIES && !open.isEmpty(); tried++) {
            List<Integer> left = new ArrayList<>();
            for (Map.Entry<RedisNode, List<Integer>> part : byNode(commands, open).entrySet()) {
                last = askOne(part.getKey(), commands, part.getValue(), texts, left, last);
            }
            open = left;
        }
        if (!open.isEmpty()) {
            throw new IOException("the servers of Redis do not answer after " + TRIES + " tries", last);
        }
        return Arrays.asList(texts);
    }

    private Map<RedisNode, List<Integer>> byNode(List<List<String>> commands, List<Integer> open) {
        Map<RedisNode, List<Integer>> parts = new LinkedHashMap<>();
        for (int index : open) {
            // A single server has no slots.
            int slot = owners.isEmpty() ? 0 : RedisNode.slot(commands.get(index).get(1));
            parts.computeIfAbsent(owners.getOrDefault(slot, start), node -> new ArrayList<>()).add(index);
        }
        return parts;
    }

    /** Asks one server; what is to be asked again is added to {@code left}. Gives why, where anything is. */
    private Exception askOne(
            RedisNode node, List<List<String>> commands, List<Integer> asked, String[] texts, List<Integer> left,
            Exception last) throws IOException {
        boolean isFresh = !connections.containsKey(node);
        List<RespConnection.Reply> replies;
        try {
            replies = connected(node).ask(asked.stream().map(commands::get).toList());
        } catch (LookupTableException refused) {
            throw refused;
        } catch (IOException broken) {
            disconnect(node);
            // A server that hangs has had its time: only the next read asks again, maybe another one.
            boolean isOver = broken instanceof SocketTimeoutException;
            if ((isFresh || isOver) && (!leave(node) || isOver)) {
                throw broken;
            }
            left.addAll(asked);
            return broken;
        }
        Exception why = last;
        for (int place = 0; place < asked.size(); place++) {
            int index = asked.get(place);
            RespConnection.Reply reply = replies.get(place);
            if (reply.isAsk()) {
                // This once: the key is on its way to the other server.
                reply = askOnce(reply.elsewhere(node), commands.get(index));
            }
            if (reply.isMoved()) {
                owners.put(reply.slot(), reply.elsewhere(node));
                left.add(index);
                why = reply.refusal();
            } else {
                texts[index] = reply.orRefusal();
            }
        }
        return why;
    }

    private RespConnection.Reply askOnce(RedisNode node, List<String> command) throws IOException {
        try {
            return connected(node).ask(List.of(List.of("ASKING"), command)).get(1);
        } catch (IOException broken) {
            disconnect(node);
            throw broken;
        }
    }

    /** Goes to other servers of a cluster from now on; whether there are any. */
    private boolean leave(RedisNode node) {
        boolean isKnown = owners.values().removeIf(node::equals);
        if (!node.equals(start)) {
            return isKnown;
        }
        if (owners.isEmpty()) {
            return false;
        }
        start = owners.values().iterator().next();
        return true;
    }

    private RespConnection connected(RedisNode node) throws IOException {
        if (isClosed) {
            throw new LookupTableException("the lookup table is closed");
        }
        RespConnection connection = connections.get(node);
        if (connection == null) {
            connection = new RespConnection(node, location, tls);
            connections.put(node, connection);
        }
        return connection;
    }

    private void disconnect(RedisNode node) {
        RespConnection connection = connections.remove(node);
        if (connection != null) {
            connection.close();
        }
    }

    @Override
    public synchronized void close() {
        isClosed = true;
        List.copyOf(connections.keySet()).forEach(this::disconnect);
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
