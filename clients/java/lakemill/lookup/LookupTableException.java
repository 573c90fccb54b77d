package lakemill.lookup;

import java.io.IOException;

/** Why a lookup table cannot be read. */
public class LookupTableException extends IOException {
    private static final long serialVersionUID = 1;

    LookupTableException(String message) {
        super(message);
    }

    LookupTableException(String message, Throwable cause) {
        super(message, cause);
    }

    /** Nothing is published under this name: not the same as a key that is not there. */
    public static final class NotPublished extends LookupTableException {
        private static final long serialVersionUID = 1;

        NotPublished(String message) {
            super(message);
        }
    }

    /** The generation has another format than this reader knows. */
    public static final class UnknownFormat extends LookupTableException {
        private static final long serialVersionUID = 1;

        UnknownFormat(String message) {
            super(message);
        }
    }

    /** What is stored is not what was published. */
    public static final class Damaged extends LookupTableException {
        private static final long serialVersionUID = 1;

        Damaged(String message) {
            super(message);
        }

        Damaged(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** The generation's time to live is over, and no newer one is published. */
    public static final class Expired extends LookupTableException {
        private static final long serialVersionUID = 1;

        Expired(String message) {
            super(message);
        }
    }
}
