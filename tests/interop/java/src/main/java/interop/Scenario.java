package interop;

/**
 * One thing an unmodified client does with a broker.
 *
 * @param name         what it is called on the command line and in the report
 * @param group        core (must pass for the first message), more, slow, pop, sql, ringmq (promises the Apache broker does not make),
 *                     phase (one half of a pair with a broker restart in between; never run unless named)
 * @param limitSeconds after this it has failed
 */
record Scenario(String name, String group, int limitSeconds, Body body) {
    interface Body {
        void run(Stage stage) throws Exception;
    }
}
