package lakemill.lookup;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import lakemill.lookup.LookupTableException.Damaged;

/** The store of files: {@code <home>/lookup/<table>}, which is only ever read. */
final class FileStore implements Store {
    private final Path folder;

    FileStore(Path home, String table) {
        folder = home.resolve("lookup").resolve(table);
    }

    @Override
    public Long current() throws IOException {
        String name;
        try {
            name = Files.readString(folder.resolve("CURRENT"), ISO_8859_1).stripTrailing();
        } catch (NoSuchFileException absent) {
            return null;
        }
        if (!name.matches("v=\\d{6,18}")) {
            throw new Damaged("CURRENT names no generation: " + name.substring(0, Math.min(40, name.length())));
        }
        return Long.valueOf(name.substring(2));
    }

    @Override
    public Generation open(long number) throws IOException {
        Path generation = folder.resolve(String.format("v=%06d", number));
        Metadata metadata = Metadata.parse(Files.readString(generation.resolve("generation.json"), UTF_8));
        if (!(metadata.raw().get("file_bytes") instanceof Long bytes)) {
            throw new Damaged("the generation's metadata has no size of the file");
        }
        return new FileGeneration(metadata, new LmdbFile(generation.resolve("data.mdb"), bytes));
    }

    @Override
    public void close() {
        // Files are given back when the last read of them has ended.
    }

    private record FileGeneration(Metadata metadata, LmdbFile file) implements Generation {
        @Override
        public boolean stays() {
            return true;
        }

        @Override
        public List<String> read(List<String> keys) throws IOException {
            List<String> values = new ArrayList<>(keys.size());
            for (String key : keys) {
                byte[] value = file.get(key.getBytes(UTF_8));
                values.add(value == null ? null : new String(value, UTF_8));
            }
            return values;
        }
    }
}
