package lakemill.lookup;

import java.time.DateTimeException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import lakemill.lookup.LookupTableException.Damaged;
import lakemill.lookup.LookupTableException.UnknownFormat;

/**
 * What a generation says about itself.
 *
 * @param table the table's name
 * @param generation its number
 * @param runId the run that published it
 * @param job the job's name
 * @param interval the interval, as it is written on the command line
 * @param intervalEnd up to then the values know what happened
 * @param model the model that made the values
 * @param modelVersion its version
 * @param publishedAt when it was complete
 * @param ttlSecs how long after that the values may be used; null: without limit
 * @param key the columns that became the key, in order
 * @param values the members of each value, in order
 * @param keys how many keys there are
 * @param checksum over all pairs
 * @param raw all members as they are stored
 */
public record Metadata(
        String table,
        long generation,
        String runId,
        String job,
        String interval,
        Instant intervalEnd,
        String model,
        long modelVersion,
        Instant publishedAt,
        Long ttlSecs,
        List<Column> key,
        List<Column> values,
        long keys,
        String checksum,
        Map<String, Object> raw) {

    /** The version of the layout that this reader reads; it refuses any other. */
    public static final long FORMAT = 2;

    /** When the values end; null where they do not. */
    public Instant expiresAt() {
        return ttlSecs == null ? null : publishedAt.plusSeconds(ttlSecs);
    }

    /** Reads what {@code generation.json}, or the key of the same name in Redis, holds. */
    static Metadata parse(String json) throws LookupTableException {
        try {
            Map<String, Object> raw = Json.object(json, Set.of());
            long format = (Long) raw.get("format");
            if (format != FORMAT) {
                throw new UnknownFormat("the generation has format " + format + ", this reader reads " + FORMAT);
            }
            return new Metadata(
                    text(raw, "table"),
                    (Long) raw.get("generation"),
                    text(raw, "run_id"),
                    text(raw, "job"),
                    text(raw, "interval"),
                    instant(raw, "interval_end"),
                    text(raw, "model"),
                    (Long) raw.get("model_version"),
                    instant(raw, "published_at"),
                    (Long) raw.get("ttl_secs"),
                    columns(raw.get("key")),
                    columns(raw.get("values")),
                    (Long) raw.get("keys"),
                    text(raw, "checksum"),
                    raw);
        } catch (ClassCastException | NullPointerException | IllegalArgumentException | DateTimeException error) {
            throw new Damaged("the generation's metadata is damaged", error);
        }
    }

    private static String text(Map<String, Object> raw, String name) {
        return java.util.Objects.requireNonNull((String) raw.get(name), name);
    }

    private static Instant instant(Map<String, Object> raw, String name) {
        return OffsetDateTime.parse(text(raw, name)).toInstant();
    }

    private static List<Column> columns(Object members) {
        List<Column> columns = new ArrayList<>();
        for (Object member : (List<?>) members) {
            Map<?, ?> column = (Map<?, ?>) member;
            columns.add(new Column((String) column.get("name"), (String) column.get("type")));
        }
        return List.copyOf(columns);
    }
}
