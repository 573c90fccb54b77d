package lakemill.lookup;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigInteger;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Reads tables as the tests say: a command as JSON on each line of standard input, an answer on each of the output. */
final class Drive {
    private static LookupTable table;

    private Drive() {}

    public static void main(String[] arguments) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        PrintStream out = new PrintStream(System.out, true, UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> said;
            try {
                said = answer(Json.object(line, Set.of()));
            } catch (Exception error) {
                said = new LinkedHashMap<>();
                said.put("error", error.getClass().getSimpleName());
                said.put("message", String.valueOf(error.getMessage()));
            }
            out.println(json(said));
        }
    }

    private static Map<String, Object> answer(Map<String, Object> command) throws IOException {
        Map<String, Object> said = new LinkedHashMap<>();
        switch ((String) command.get("do")) {
            case "open" -> {
                Duration check = Duration.ofMillis((Long) command.get("check_millis"));
                String ca = (String) command.get("ca");
                LookupTable.Options options = new LookupTable.Options(
                        (String) command.get("prefix"), check, ca == null ? null : LookupTable.trusting(Path.of(ca)));
                table = LookupTable.open((String) command.get("location"), (String) command.get("table"), options);
            }
            case "get" -> {
                List<Object> keys = new ArrayList<>();
                for (Object key : (List<?>) command.get("keys")) {
                    keys.add(((List<?>) key).stream().map(part -> part((Map<?, ?>) part)).toList());
                }
                said.put("values", table.getManyTexts(keys));
            }
            case "metadata" -> {
                Metadata told = table.metadata();
                List<Column> columns = new ArrayList<>(told.key());
                columns.addAll(told.values());
                said.put("generation", told.generation());
                said.put("interval", told.interval());
                said.put("keys", told.keys());
                said.put("ttl_secs", told.ttlSecs());
                said.put("model_version", told.modelVersion());
                said.put("interval_end", millis(told.intervalEnd()));
                said.put("published_at", millis(told.publishedAt()));
                said.put("age", table.age().toMillis());
                said.put("columns", columns.stream().map(Column::name).toList());
            }
            case "close" -> table.close();
            default -> throw new IllegalArgumentException("no such command");
        }
        return said;
    }

    static Object part(Map<?, ?> typed) {
        Map.Entry<?, ?> entry = typed.entrySet().iterator().next();
        return switch ((String) entry.getKey()) {
            case "int" -> new BigInteger((String) entry.getValue());
            case "date" -> LocalDate.parse((String) entry.getValue());
            default -> entry.getValue();
        };
    }

    private static long millis(Instant instant) {
        return instant.toEpochMilli();
    }

    private static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            List<String> members = new ArrayList<>();
            map.forEach((name, member) -> members.add(json(name) + ":" + json(member)));
            return "{" + String.join(",", members) + "}";
        }
        if (value instanceof List<?> list) {
            return "[" + String.join(",", list.stream().map(Drive::json).toList()) + "]";
        }
        return value instanceof String text ? quoted(text) : String.valueOf(value);
    }

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char next : text.toCharArray()) {
            if (next == '"' || next == '\\') {
                out.append('\\').append(next);
            } else if (next < ' ') {
                out.append(String.format("\\u%04x", (int) next));
            } else {
                out.append(next);
            }
        }
        return out.append('"').toString();
    }
}
