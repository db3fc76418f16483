package interop;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Plays scenarios against the broker behind a name server and prints a line for each:
 * {@code PASS name 123 ms}, {@code FAIL name why} or {@code SKIP name why}. Exits 1 when one failed.
 *
 * <pre>
 * Main --namesrv host:port [--groups core,more] [--parallel n] [--suffix text] [--list] [scenario...]
 * Main --child-consumer|--child-orderly namesrv topic group        (used by the scenarios that kill a consumer)
 * </pre>
 */
public final class Main {
    private static final AtomicInteger FAILED = new AtomicInteger();
    private static final AtomicInteger PASSED = new AtomicInteger();

    private Main() {}

    static List<Scenario> scenarios() {
        List<Scenario> all = new ArrayList<>();
        all.addAll(Sending.SCENARIOS);
        all.addAll(Pushing.SCENARIOS);
        all.addAll(Pulling.SCENARIOS);
        all.addAll(Rebalancing.SCENARIOS);
        all.addAll(Offsets.SCENARIOS);
        all.addAll(Limits.SCENARIOS);
        all.addAll(Queries.SCENARIOS);
        all.addAll(Retries.SCENARIOS);
        all.addAll(Replies.SCENARIOS);
        all.addAll(Transactions.SCENARIOS);
        all.addAll(Pops.SCENARIOS);
        all.addAll(Sql.SCENARIOS);
        all.addAll(Ipv6.SCENARIOS);
        all.addAll(Promises.SCENARIOS);
        return all;
    }

    public static void main(String[] arguments) throws Exception {
        quietClient();
        if (arguments.length > 0 && arguments[0].startsWith("--child-")) {
            Rebalancing.child(arguments[0].equals("--child-orderly"), arguments[1], arguments[2], arguments[3]);
            return;
        }
        String namesrv = "127.0.0.1:9876";
        Set<String> groups = Set.of("core");
        int parallel = 1;
        String suffix = Long.toString(ThreadLocalRandom.current().nextLong(1L << 40), 36);
        List<String> names = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--namesrv" -> namesrv = arguments[++i];
                case "--groups" -> groups = Set.of(arguments[++i].split(","));
                case "--parallel" -> parallel = Integer.parseInt(arguments[++i]);
                case "--suffix" -> suffix = arguments[++i];
                case "--list" -> {
                    scenarios().forEach(s -> System.out.println(s.group() + " " + s.name()));
                    return;
                }
                default -> names.add(arguments[i]);
            }
        }
        List<Scenario> chosen = choose(groups, names);
        play(chosen, namesrv, suffix, parallel);
        System.out.println(PASSED + " passed, " + FAILED + " failed");
        // Clients leave non-daemon threads behind when a scenario was cut short.
        System.exit(FAILED.get() == 0 ? 0 : 1);
    }

    private static List<Scenario> choose(Set<String> groups, List<String> names) {
        List<Scenario> all = scenarios();
        for (String name : names) {
            Check.that(all.stream().anyMatch(s -> s.name().equals(name)), "no scenario " + name + "; --list shows them");
        }
        // The longest first, so that they do not remain alone at the end.
        return all.stream()
            .filter(s -> names.isEmpty() ? groups.contains(s.group()) : names.contains(s.name()))
            .sorted(Comparator.comparingInt(s -> -s.limitSeconds()))
            .toList();
    }

    private static void play(List<Scenario> chosen, String namesrv, String suffix, int parallel) throws Exception {
        ExecutorService players = Executors.newFixedThreadPool(parallel);
        List<Future<?>> played = new ArrayList<>();
        for (Scenario scenario : chosen) {
            played.add(players.submit(() -> report(scenario, namesrv, suffix)));
        }
        for (Future<?> one : played) {
            one.get();
        }
        players.shutdown();
    }

    private static void report(Scenario scenario, String namesrv, String suffix) {
        long begin = System.nanoTime();
        Stage stage = new Stage(namesrv, scenario.name() + "_" + suffix);
        ExecutorService alone = Executors.newSingleThreadExecutor();
        Future<?> run = alone.submit(() -> {
            scenario.body().run(stage);
            return null;
        });
        String line;
        try {
            run.get(scenario.limitSeconds(), TimeUnit.SECONDS);
            PASSED.incrementAndGet();
            line = "PASS " + scenario.name() + " " + (System.nanoTime() - begin) / 1_000_000 + " ms"
                + (stage.remark().isEmpty() ? "" : " (" + stage.remark() + ")");
        } catch (ExecutionException e) {
            line = verdict(scenario, e.getCause());
        } catch (TimeoutException e) {
            FAILED.incrementAndGet();
            line = "FAIL " + scenario.name() + " not done after " + scenario.limitSeconds() + " s";
            run.cancel(true);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
        System.out.println(line);
        stage.close();
        alone.shutdownNow();
    }

    private static String verdict(Scenario scenario, Throwable why) {
        if (why instanceof Versions.Unsupported) {
            return "SKIP " + scenario.name() + " " + why.getMessage();
        }
        FAILED.incrementAndGet();
        String text = why instanceof Check.Failed ? why.getMessage() : String.valueOf(why);
        StackTraceElement at = null;
        for (StackTraceElement frame : why.getStackTrace()) {
            if (frame.getClassName().startsWith("interop.") && !frame.getClassName().equals("interop.Check")) {
                at = frame;
                break;
            }
        }
        String line = "FAIL " + scenario.name() + " " + text.replace('\n', ' ');
        return at == null ? line : line + " [" + at.getFileName() + ":" + at.getLineNumber() + "]";
    }

    /** The client logs and keeps broadcast offsets below user.home: let that be a temporary directory. */
    private static void quietClient() throws Exception {
        if (System.getProperty("interop.home") == null) {
            System.setProperty("interop.home", Files.createTempDirectory("interop").toString());
        }
        String home = System.getProperty("interop.home");
        System.setProperty("user.home", home);
        System.setProperty("rocketmq.client.logRoot", home);
        System.setProperty("rocketmq.client.localOffsetStoreDir", home + "/offsets");
        System.setProperty("rocketmq.client.logLevel", System.getProperty("interop.log", "WARN"));
    }
}
