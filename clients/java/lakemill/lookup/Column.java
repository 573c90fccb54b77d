package lakemill.lookup;

/**
 * A column that was published.
 *
 * @param name its name, of a value column also the member's name in the JSON object
 * @param type the name of its Arrow type
 */
public record Column(String name, String type) {}
