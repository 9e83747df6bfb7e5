/** The smallest program; with an argument it stays until its input ends. */
public class Hello {
	public static void main(String[] args) throws Exception {
		System.out.println("hello");
		if (args.length > 0)
			System.in.read();
	}
}
