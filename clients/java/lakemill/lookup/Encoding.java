package lakemill.lookup;

import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.zip.CRC32;
import lakemill.lookup.LookupTableException.Damaged;

/** Keys and values as every store holds them. */
public final class Encoding {
    /** The greatest sum of the weights of a split. */
    private static final long MOST_WEIGHT = 1_000_000;

    private Encoding() {}

    /**
     * The stored form of a key: of one column its text, of several their escaped texts joined by {@code |}.
     *
     * @param parts a String, Boolean, whole number or LocalDate for each column
     */
    public static String encodeKey(List<?> parts) {
        if (parts.size() == 1) {
            return text(parts.get(0));
        }
        List<String> texts = new ArrayList<>();
        for (Object part : parts) {
            texts.add(text(part).replace("\\", "\\\\").replace("|", "\\|"));
        }
        return String.join("|", texts);
    }

    /** The bucket of an encoded key. */
    public static int partitionOf(byte[] key, int partitions) {
        CRC32 crc = new CRC32();
        crc.update(key);
        return (int) (crc.getValue() % Math.max(partitions, 1));
    }

    /**
     * The arm that an encoded key has in an A/B split of {@code lakemill serve}.
     *
     * @param salt the served name, unless the configuration has another one
     * @param arms in the order of the configuration
     * @throws IllegalArgumentException where the weights make no split
     */
    public static String splitArm(String salt, List<Arm> arms, String key) {
        long total = 0;
        for (Arm arm : arms) {
            // Each is looked at before it is added, so that no sum overflows.
            total = arm.weight() < 0 || arm.weight() > MOST_WEIGHT ? MOST_WEIGHT + 1 : total + arm.weight();
            if (total > MOST_WEIGHT) {
                break;
            }
        }
        if (total < 1 || total > MOST_WEIGHT) {
            throw new IllegalArgumentException(
                    "the weights of a split are whole numbers from 0, and their sum is from 1 to " + MOST_WEIGHT);
        }
        byte[] digest = sha256((salt + ":" + key).getBytes(StandardCharsets.UTF_8));
        // 15 of the 16 hexadecimal digits of its first 8 bytes.
        long point = (ByteBuffer.wrap(digest).getLong() >>> 4) % total;
        for (Arm arm : arms) {
            if (point < arm.weight()) {
                return arm.name();
            }
            point -= arm.weight();
        }
        throw new AssertionError("a point is below the sum of the weights");
    }

    private static byte[] sha256(byte[] bytes) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(bytes);
        } catch (NoSuchAlgorithmException error) {
            throw new AssertionError("every Java has SHA-256", error);
        }
    }

    /**
     * A stored value as a map in the order of the columns. Decimals are BigDecimal, floats Double, whole numbers Long
     * (BigInteger where that is too small); dates and instants stay the text that is stored.
     *
     * @throws Damaged where it is no JSON object
     */
    public static Map<String, Object> decodeValue(String value, List<Column> columns) throws Damaged {
        Set<String> decimals = columns.stream()
                .filter(column -> column.type().contains("Decimal"))
                .map(Column::name)
                .collect(Collectors.toSet());
        try {
            return Json.object(value, decimals);
        } catch (IllegalArgumentException error) {
            throw new Damaged("a value is damaged", error);
        }
    }

    private static String text(Object part) {
        if (part instanceof String string) {
            // Half a surrogate pair has no UTF-8, and would be looked for as a question mark.
            if (!StandardCharsets.UTF_8.newEncoder().canEncode(string)) {
                throw new IllegalArgumentException("a key is Unicode, without half surrogate pairs");
            }
            return string;
        }
        boolean isWritable = part instanceof Boolean || part instanceof LocalDate || part instanceof Long
                || part instanceof Integer || part instanceof Short || part instanceof Byte
                || part instanceof BigInteger;
        if (!isWritable) {
            String type = part == null ? "null" : part.getClass().getName();
            throw new IllegalArgumentException("a part of a key is text, a whole number, a boolean or a date, not " + type);
        }
        return part.toString();
    }
}
