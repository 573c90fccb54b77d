package lakemill.lookup;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import lakemill.lookup.LookupTableException.Damaged;

/**
 * Reads a published LMDB file: the part of LMDB's format that a file has which never changes any more. Such a file
 * needs no locks, no transactions and no native library. It is mapped, so that any number of threads may read, and
 * given back when nobody refers to it any more.
 */
final class LmdbFile {
    private static final int MAGIC = 0xbeefc0de;
    private static final int VERSION = 1;
    private static final int HEADER = 16;
    private static final int META_BYTES = HEADER + 136;
    private static final int BRANCH = 0x01;
    private static final int LEAF = 0x02;
    private static final int OVERFLOW = 0x04;
    private static final int BIG_DATA = 0x01;
    private static final int MAX_DEPTH = 32;

    /** A multiple of every page size; one buffer cannot map more than 2 GiB. */
    private static final int SEGMENT_BYTES = 1 << 30;

    private final ByteBuffer[] segments;
    private final long bytes;
    private final int pageBytes;
    /** The number of the root page; -1 where the table is empty. */
    private final long root;

    /**
     * @param bytes how long the file has to be
     * @throws Damaged where it is not such a file
     */
    LmdbFile(Path path, long bytes) throws IOException {
        this.bytes = bytes;
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
            if (file.size() != bytes || bytes < META_BYTES) {
                throw new Damaged("data.mdb has another size than recorded");
            }
            segments = new ByteBuffer[(int) ((bytes + SEGMENT_BYTES - 1) / SEGMENT_BYTES)];
            for (int index = 0; index < segments.length; index++) {
                long start = (long) index * SEGMENT_BYTES;
                long length = Math.min(SEGMENT_BYTES, bytes - start);
                segments[index] = file.map(FileChannel.MapMode.READ_ONLY, start, length).order(ByteOrder.LITTLE_ENDIAN);
            }
        }
        int meta = 0;
        pageBytes = checkedPageBytes(0);
        if (bytes >= pageBytes + META_BYTES) {
            checkedPageBytes(pageBytes);
            meta = transaction(pageBytes) > transaction(0) ? pageBytes : 0;
        }
        root = segments[0].getLong(meta + 128);
    }

    /** A copy of the value under a key; null where there is no such key. */
    byte[] get(byte[] key) throws Damaged {
        if (root == -1) {
            return null;
        }
        try {
            Page page = page(root);
            for (int depth = 0; depth < MAX_DEPTH; depth++) {
                int flags = page.unsigned(10);
                if ((flags & LEAF) != 0) {
                    return find(page, key);
                }
                if ((flags & BRANCH) == 0) {
                    break;
                }
                // The first node of a branch page stands for everything below the second.
                int node = page.node(Math.max(0, page.above(key, 1) - 1));
                page = page(page.integer(node) & 0xffffffffL | (long) page.unsigned(node + 4) << 32);
            }
        } catch (IndexOutOfBoundsException error) {
            throw new Damaged("data.mdb refers to what it lacks", error);
        }
        throw new Damaged("data.mdb holds no tree");
    }

    private byte[] find(Page page, byte[] key) throws Damaged {
        int index = page.above(key, 0) - 1;
        if (index < 0 || page.compare(index, key) != 0) {
            return null;
        }
        int node = page.node(index);
        int length = page.integer(node);
        int data = node + 8 + page.unsigned(node + 6);
        if (length < 0) {
            throw new Damaged("data.mdb has a value without a length");
        }
        if ((page.unsigned(node + 4) & BIG_DATA) == 0) {
            if (data + length > pageBytes) {
                throw new Damaged("data.mdb has a value beyond its page");
            }
            return copy(page.offset + data, length);
        }
        // A large value fills pages of its own, one after another behind one header.
        Page first = page(page.wide(data));
        long room = (first.integer(12) & 0xffffffffL) * pageBytes - HEADER;
        if ((first.unsigned(10) & OVERFLOW) == 0 || length > room) {
            throw new Damaged("data.mdb lacks a large value");
        }
        return copy(first.offset + HEADER, length);
    }

    private byte[] copy(long offset, int length) throws Damaged {
        if (offset + length > bytes) {
            throw new Damaged("data.mdb ends too early");
        }
        byte[] copy = new byte[length];
        for (int done = 0; done < length; ) {
            ByteBuffer segment = segments[(int) ((offset + done) / SEGMENT_BYTES)];
            int start = (int) ((offset + done) % SEGMENT_BYTES);
            int part = Math.min(length - done, segment.capacity() - start);
            segment.get(start, copy, done, part);
            done += part;
        }
        return copy;
    }

    private Page page(long number) throws Damaged {
        if (number < 2 || number >= bytes / pageBytes) {
            throw new Damaged("data.mdb names a page that it lacks");
        }
        Page page = new Page(number * pageBytes);
        if (page.wide(0) != number) {
            throw new Damaged("data.mdb has another page in this place");
        }
        return page;
    }

    private int checkedPageBytes(int meta) throws Damaged {
        ByteBuffer start = segments[0];
        if (start.getInt(meta + 16) != MAGIC || start.getInt(meta + 20) != VERSION) {
            throw new Damaged("data.mdb is no LMDB file of version 1");
        }
        int size = start.getInt(meta + 40);
        // The flags of the table: none, so that keys are ordered by their bytes and there is one value a key.
        if (size < 512 || size > 65536 || Integer.bitCount(size) != 1 || start.getShort(meta + 92) != 0) {
            throw new Damaged("data.mdb is no lookup table");
        }
        return size;
    }

    private long transaction(int meta) {
        return segments[0].getLong(meta + 144);
    }

    /** A page in the map; never in two segments. */
    private final class Page {
        final long offset;
        private final ByteBuffer segment;
        private final int start;

        Page(long offset) {
            this.offset = offset;
            segment = segments[(int) (offset / SEGMENT_BYTES)];
            start = (int) (offset % SEGMENT_BYTES);
        }

        int unsigned(int at) {
            return Short.toUnsignedInt(segment.getShort(start + at));
        }

        int integer(int at) {
            return segment.getInt(start + at);
        }

        long wide(int at) {
            return segment.getLong(start + at);
        }

        private int count() {
            return unsigned(12) - HEADER >> 1;
        }

        /** The place of a node: 4 bytes of size or page, 2 of flags, 2 of the key's length, the key, the data. */
        int node(int index) throws Damaged {
            int node = index < count() ? unsigned(HEADER + 2 * index) : pageBytes;
            if (node + 8 > pageBytes || node + 8 + unsigned(node + 6) > pageBytes) {
                throw new Damaged("data.mdb has a key beyond its page");
            }
            return node;
        }

        /** The index, from {@code low} on, of the first node whose key is greater. */
        int above(byte[] key, int low) throws Damaged {
            int high = count();
            while (low < high) {
                int middle = low + high >>> 1;
                if (compare(middle, key) > 0) {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            return low;
        }

        /** How a node's key stands to another, by unsigned bytes. */
        int compare(int index, byte[] key) throws Damaged {
            int node = node(index);
            int length = unsigned(node + 6);
            for (int i = 0; i < Math.min(length, key.length); i++) {
                int order = Byte.compareUnsigned(segment.get(start + node + 8 + i), key[i]);
                if (order != 0) {
                    return order;
                }
            }
            return length - key.length;
        }
    }
}
