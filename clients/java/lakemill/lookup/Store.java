package lakemill.lookup;

import java.io.IOException;
import java.util.List;

/** Where the generations of one table lie. May be used by many threads. */
interface Store extends AutoCloseable {
    /** The number of the generation that the pointer names; null where nothing is published. */
    Long current() throws IOException;

    /** A generation; Damaged or NoSuchFileException where it is not there. */
    Generation open(long number) throws IOException;

    @Override
    void close() throws IOException;

    /** One generation, opened. May be used by many threads. */
    interface Generation {
        Metadata metadata();

        /** Whether it stays readable while it is open, also when it has been removed. */
        boolean stays();

        /** The stored values of encoded keys; null where there is no such key. */
        List<String> read(List<String> keys) throws IOException;
    }
}
