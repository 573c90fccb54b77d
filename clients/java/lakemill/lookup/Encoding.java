package lakemill.lookup;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
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
