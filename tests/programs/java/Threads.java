// Threads, pools, processes, files and sockets in Java.
// seconds: 120
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Threads {
	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(8);
		AtomicLong sum = new AtomicLong();
		List<Future<Integer>> futures = new ArrayList<>();
		for (int i = 0; i < 100; i++) {
			final int n = i;
			futures.add(pool.submit(() -> { for (int j = 0; j < 10000; j++) sum.incrementAndGet(); return n; }));
		}
		int total = 0;
		for (Future<Integer> future : futures) total += future.get();
		pool.shutdown();
		System.out.println(sum + " " + total + " " + pool.awaitTermination(5, TimeUnit.SECONDS));

		System.out.println(IntStream.range(0, 1_000_000).parallel().filter(n -> n % 3 == 0).count());
		Object lock = new Object();
		int[] turn = {0};
		Thread[] pair = new Thread[2];
		for (int i = 0; i < 2; i++) {
			final int me = i;
			pair[i] = new Thread(() -> {
				for (int j = 0; j < 1000; j++) synchronized (lock) {
					try { while (turn[0] != me) lock.wait(); } catch (InterruptedException e) { return; }
					turn[0] = 1 - me;
					lock.notifyAll();
				}
			});
			pair[i].start();
		}
		for (Thread thread : pair) thread.join();
		System.out.println("turn " + turn[0]);

		List<byte[]> garbage = new ArrayList<>();
		for (int i = 0; i < 2000; i++) { byte[] block = new byte[100_000]; if (i % 50 == 0) garbage.add(block); }
		System.gc();
		System.out.println(garbage.size());

		try { Object nothing = null; nothing.toString(); } catch (NullPointerException e) { System.out.println("null"); }
		try { recurse(0); } catch (StackOverflowError e) { System.out.println("overflow"); }

		Process process = new ProcessBuilder("sh", "-c", "cat; exit 3").redirectErrorStream(true).start();
		try (Writer out = new OutputStreamWriter(process.getOutputStream())) { out.write("to a child\n"); }
		System.out.print(new String(process.getInputStream().readAllBytes()));
		System.out.println(process.waitFor());

		Path file = Files.createTempFile("java", ".txt");
		Files.write(file, Collections.nCopies(1000, "line"));
		try (Stream<String> lines = Files.lines(file)) { System.out.println(lines.count()); }
		Files.delete(file);

		try (ServerSocket server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
			Thread echo = new Thread(() -> {
				try (Socket socket = server.accept()) { socket.getInputStream().transferTo(socket.getOutputStream()); }
				catch (IOException e) { e.printStackTrace(); }
			});
			echo.start();
			try (Socket socket = new Socket(server.getInetAddress(), server.getLocalPort())) {
				socket.getOutputStream().write(new byte[50_000]);
				socket.shutdownOutput();
				System.out.println(socket.getInputStream().readAllBytes().length);
			}
			echo.join();
		}
		System.exit(5);
	}

	static int recurse(int n) { return recurse(n + 1) + 1; }
}
