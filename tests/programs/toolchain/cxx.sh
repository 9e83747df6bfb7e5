# A C++ program: exceptions, threads, the standard library.
# stderr: any
# needs: g++
# seconds: 180
cat > main.cc <<'END'
#include <algorithm>
#include <future>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
struct Guard { ~Guard() { std::cout << "unwound\n"; } };
static int risky(int n) { Guard guard; if (n > 2) throw std::runtime_error("too much"); return n; }
int main() {
	std::vector<std::future<int>> futures;
	for (int i = 0; i < 5; i++) futures.push_back(std::async(std::launch::async, risky, i == 4 ? 9 : 1));
	for (auto &future : futures) try { std::cout << future.get() << '\n'; } catch (const std::exception &e) { std::cout << e.what() << '\n'; }
	std::map<std::string, int> words{{"b", 2}, {"a", 1}};
	for (auto &[word, count] : words) std::cout << word << count << '\n';
	thread_local int local = 3;
	std::thread([] { local++; std::cout << local << std::endl; }).join();
	std::cout << local << std::endl;
	throw 5;
}
END
g++ -std=c++17 -O1 -pthread -o program main.cc && ./program > out 2> err; code=$?
sort out; cat err; echo "status $code"
