package lakemill.lookup;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * The reader beside the test vectors: {@code java lakemill.lookup.VectorsTest ../vectors.json}. A plain program, for the
 * reader needs nothing but Java.
 */
final class VectorsTest {
    private VectorsTest() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> vectors = Json.object(Files.readString(Path.of(arguments[0])), Set.of());
        same(Metadata.FORMAT, vectors.get("format"));
        for (Map<?, ?> vector : each(vectors, "keys")) {
            same(vector.get("key"), Encoding.encodeKey(list(vector, "parts").stream().map(VectorsTest::typed).toList()));
        }
        for (Map<?, ?> vector : each(vectors, "partitions")) {
            byte[] key = ((String) vector.get("key")).getBytes(StandardCharsets.UTF_8);
            int partitions = ((Long) vector.get("partitions")).intValue();
            same(vector.get("partition"), (long) Encoding.partitionOf(key, partitions));
        }
        for (Map<?, ?> vector : each(vectors, "splits")) {
            splits(vector);
        }
        for (List<Arm> arms : List.of(
                List.<Arm>of(),
                List.of(new Arm("a", 0)),
                List.of(new Arm("a", -1), new Arm("b", 2)),
                List.of(new Arm("a", 1_000_000), new Arm("b", 1)),
                List.of(new Arm("a", Long.MAX_VALUE), new Arm("b", Long.MAX_VALUE)))) {
            refused(IllegalArgumentException.class, () -> Encoding.splitArm("salt", arms, "key"));
        }
        for (Map<?, ?> vector : each(vectors, "values")) {
            values(vector);
        }
        for (Map<?, ?> vector : each(vectors, "metadata")) {
            metadata(vector);
        }
        for (Object other : Arrays.asList(1.0, null, 'a', "\ud800")) {
            refused(IllegalArgumentException.class, () -> Encoding.encodeKey(Arrays.asList(other)));
        }
        for (String other : List.of("redis://127.0.0.1:1/0?ca=x", "rediss://:1", "redis://a b")) {
            refused(IllegalArgumentException.class, () -> LookupTable.open(other, "table"));
        }
        // As the specification of Redis' clusters has it.
        same(0x31c3, RedisNode.slot("123456789"));
        same(RedisNode.slot("user1000"), RedisNode.slot("{user1000}.following"));
        same(RedisNode.slot("{bar"), RedisNode.slot("foo{{bar}}zap"));
        same(false, RedisNode.slot("bar") == RedisNode.slot("foo{}{bar}"));
        for (String other : List.of("", "{", "[]", "{\"a\":}", "{\"a\":1}x", "{\"a\":\"\\u00\"}", "{\"a\":1.2.3}")) {
            refused(IllegalArgumentException.class, () -> Json.object(other, Set.of()));
        }
    }

    private static void splits(Map<?, ?> vector) {
        List<Arm> arms = new ArrayList<>();
        for (Object arm : list(vector, "arms")) {
            arms.add(new Arm((String) ((List<?>) arm).get(0), (Long) ((List<?>) arm).get(1)));
        }
        for (Object pair : list(vector, "keys")) {
            String key = (String) ((List<?>) pair).get(0);
            same(((List<?>) pair).get(1), Encoding.splitArm((String) vector.get("salt"), arms, key));
        }
    }

    private static void values(Map<?, ?> vector) throws Exception {
        List<Column> columns = new ArrayList<>();
        for (Object column : list(vector, "columns")) {
            columns.add(new Column((String) ((Map<?, ?>) column).get("name"), (String) ((Map<?, ?>) column).get("type")));
        }
        List<List<Object>> decoded = new ArrayList<>();
        Encoding.decodeValue((String) vector.get("value"), columns)
                .forEach((name, value) -> decoded.add(Arrays.asList(name, value)));
        List<List<Object>> wanted = new ArrayList<>();
        for (Object member : list(vector, "members")) {
            wanted.add(Arrays.asList(((List<?>) member).get(0), typed(((List<?>) member).get(1))));
        }
        same(wanted, decoded);
    }

    private static void metadata(Map<?, ?> vector) throws Exception {
        String text = (String) vector.get("text");
        Metadata metadata = Metadata.parse(text);
        same(vector.get("key"), metadata.key().stream().map(Column::name).toList());
        same(vector.get("values"), metadata.values().stream().map(Column::name).toList());
        same(vector.get("generation"), metadata.generation());
        String expiresAt = (String) vector.get("expires_at");
        same(expiresAt == null ? null : Instant.parse(expiresAt), metadata.expiresAt());
        String newer = text.replace("\"format\": " + Metadata.FORMAT, "\"format\": " + (Metadata.FORMAT + 1));
        refused(LookupTableException.UnknownFormat.class, () -> Metadata.parse(newer));
    }

    /** A part of a key, or a member of a value, from its kind and text. */
    private static Object typed(Object value) {
        Map.Entry<?, ?> entry = ((Map<?, ?>) value).entrySet().iterator().next();
        Object inner = entry.getValue();
        return switch ((String) entry.getKey()) {
            case "int" -> whole((String) inner);
            case "float" -> Double.valueOf((String) inner);
            case "decimal" -> new BigDecimal((String) inner);
            case "date" -> LocalDate.parse((String) inner);
            case "null" -> null;
            default -> inner;
        };
    }

    private static Object whole(String digits) {
        BigInteger whole = new BigInteger(digits);
        return whole.bitLength() < Long.SIZE ? (Object) whole.longValue() : whole;
    }

    private static List<Map<?, ?>> each(Map<?, ?> vectors, String name) {
        List<Map<?, ?>> each = new ArrayList<>();
        list(vectors, name).forEach(vector -> each.add((Map<?, ?>) vector));
        if (each.isEmpty()) {
            throw new AssertionError("no " + name);
        }
        return each;
    }

    private static List<?> list(Map<?, ?> vector, String name) {
        return (List<?>) vector.get(name);
    }

    private static void same(Object wanted, Object found) {
        if (!Objects.equals(wanted, found)) {
            throw new AssertionError("wanted " + wanted + ", found " + found);
        }
    }

    private interface Attempt {
        void run() throws Exception;
    }

    private static void refused(Class<? extends Exception> kind, Attempt attempt) throws Exception {
        try {
            attempt.run();
        } catch (Exception error) {
            if (kind.isInstance(error)) {
                return;
            }
            throw error;
        }
        throw new AssertionError("not refused: " + kind.getSimpleName());
    }
}
