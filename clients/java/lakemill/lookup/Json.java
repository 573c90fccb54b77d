package lakemill.lookup;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Reads JSON: objects as maps in the order of their members, arrays as lists, whole numbers as Long (BigInteger
 * where that is too small), other numbers as Double, null as null.
 */
final class Json {
    private static final int MAX_DEPTH = 64;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /**
     * An object.
     *
     * @param decimals the members whose numbers keep all their digits, as BigDecimal
     * @throws IllegalArgumentException where the text is not one JSON object
     */
    static Map<String, Object> object(String text, Set<String> decimals) {
        Json json = new Json(text);
        json.space();
        Map<String, Object> object = json.object(decimals, 0);
        json.space();
        if (json.at != text.length()) {
            throw json.wrong();
        }
        return object;
    }

    private Map<String, Object> object(Set<String> decimals, int depth) {
        Map<String, Object> members = new LinkedHashMap<>();
        expect('{');
        space();
        if (skip('}')) {
            return members;
        }
        do {
            space();
            String name = string();
            space();
            expect(':');
            members.put(name, value(decimals.contains(name), depth));
            space();
        } while (skip(','));
        expect('}');
        return members;
    }

    private List<Object> array(int depth) {
        List<Object> elements = new ArrayList<>();
        expect('[');
        space();
        if (skip(']')) {
            return elements;
        }
        do {
            elements.add(value(false, depth));
            space();
        } while (skip(','));
        expect(']');
        return elements;
    }

    private Object value(boolean isDecimal, int depth) {
        space();
        if (depth >= MAX_DEPTH || at == text.length()) {
            throw wrong();
        }
        return switch (text.charAt(at)) {
            case '{' -> object(Set.of(), depth + 1);
            case '[' -> array(depth + 1);
            case '"' -> string();
            case 't' -> word("true", true);
            case 'f' -> word("false", false);
            case 'n' -> word("null", null);
            default -> number(isDecimal);
        };
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw wrong();
        }
        at += word.length();
        return value;
    }

    private Number number(boolean isDecimal) {
        int start = at;
        while (at < text.length() && "+-.0123456789eE".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String number = text.substring(start, at);
        // NumberFormatException is an IllegalArgumentException.
        if (isDecimal) {
            return new BigDecimal(number);
        }
        if (number.chars().anyMatch(c -> c == '.' || c == 'e' || c == 'E')) {
            return Double.valueOf(number);
        }
        BigInteger whole = new BigInteger(number);
        return whole.bitLength() < Long.SIZE ? (Number) whole.longValue() : whole;
    }

    private String string() {
        expect('"');
        StringBuilder out = new StringBuilder();
        while (at < text.length()) {
            char next = text.charAt(at++);
            if (next == '"') {
                return out.toString();
            }
            out.append(next == '\\' ? escaped() : next);
        }
        throw wrong();
    }

    private char escaped() {
        if (at == text.length()) {
            throw wrong();
        }
        char next = text.charAt(at++);
        return switch (next) {
            case '"', '\\', '/' -> next;
            case 'b' -> '\b';
            case 'f' -> '\f';
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case 'u' -> {
                if (at + 4 > text.length()) {
                    throw wrong();
                }
                at += 4;
                yield (char) Integer.parseInt(text, at - 4, at, 16);
            }
            default -> throw wrong();
        };
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private boolean skip(char wanted) {
        boolean is = at < text.length() && text.charAt(at) == wanted;
        at += is ? 1 : 0;
        return is;
    }

    private void expect(char wanted) {
        if (!skip(wanted)) {
            throw wrong();
        }
    }

    private IllegalArgumentException wrong() {
        return new IllegalArgumentException("not JSON at character " + at);
    }
}
