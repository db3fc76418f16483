package interop;

import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Supplier;

/** Assertions that say what was expected and what came. */
final class Check {
    private Check() {}

    static final class Failed extends RuntimeException {
        Failed(String why) {
            super(why);
        }
    }

    static void that(boolean holds, String why) {
        if (!holds) {
            throw new Failed(why);
        }
    }

    static void equal(String what, Object expected, Object got) {
        if (!Objects.equals(expected, got)) {
            throw new Failed(what + ": expected " + expected + ", got " + got);
        }
    }

    static void between(String what, long low, long high, long got) {
        if (got < low || got > high) {
            throw new Failed(what + ": expected " + low + ".." + high + ", got " + got);
        }
    }

    /** Returns after how many milliseconds it held. */
    static long until(Callable<Boolean> holds, int seconds, Supplier<String> why) throws Exception {
        long begin = System.nanoTime();
        while (!holds.call()) {
            if (System.nanoTime() - begin > seconds * 1_000_000_000L) {
                throw new Failed("not within " + seconds + " s: " + why.get());
            }
            Thread.sleep(10);
        }
        return (System.nanoTime() - begin) / 1_000_000;
    }

    /** Runs what must fail and returns how. */
    static <E extends Throwable> E fails(Class<E> kind, Callable<?> act) {
        try {
            Object value = act.call();
            throw new Failed("expected " + kind.getSimpleName() + ", got " + value);
        } catch (Failed e) {
            throw e;
        } catch (Throwable e) {
            for (Throwable cause = e; cause != null; cause = cause.getCause()) {
                if (kind.isInstance(cause)) {
                    return kind.cast(cause);
                }
            }
            throw new Failed("expected " + kind.getSimpleName() + ", got " + e);
        }
    }
}
