package lakemill.lookup;

/**
 * An arm of an A/B split.
 *
 * @param name its name in the configuration of {@code lakemill serve}
 * @param weight its share of the sum of all weights
 */
public record Arm(String name, long weight) {}
