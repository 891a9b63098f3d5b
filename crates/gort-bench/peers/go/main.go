// The rows of gort-bench in Go: ROW PROCS on the command line, the figures as lines of JSON on standard output.
//
// The workloads are those of src/rows, in Go's idiom: goroutines, channels, WaitGroup, and cgo for the rows about C, whose loops
// are the same C source. The rows about sockets start their load, the program that GORT_BENCH_LOAD names. GORT_BENCH_SCALE scales
// counts and times as it does there. A wrong result panics.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// scale is the factor on all counts and times.
var scale = 1.0

// scaled returns count times the scale, at least 1.
func scaled(count int) int {
	return max(1, int(float64(count)*scale))
}

// heldAtStart is what heldBytes said before the row began.
var heldAtStart int

// check panics unless a workload's result is right.
func check(right bool, what string) {
	if !right {
		panic(what)
	}
}

// perOp repeats a workload for about 0.3 s and returns the nanoseconds of one repetition. The calls with small numbers, which find
// out how often, are the warm-up.
func perOp(timed func(n int) time.Duration) float64 {
	target := time.Duration(float64(300*time.Millisecond) * scale)
	n := 1
	for {
		took := timed(n)
		if took >= target/8 {
			n = max(1, int(float64(n)*float64(target)/float64(took)))
			break
		}
		n *= 4
	}
	return float64(timed(n).Nanoseconds()) / float64(n)
}

// heldBytes returns the memory of the process: resident pages and page tables.
func heldBytes() int {
	status, err := os.ReadFile("/proc/self/status")
	check(err == nil, "cannot read /proc/self/status")
	total := 0
	for _, line := range strings.Split(string(status), "\n") {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "VmRSS:" || f[0] == "VmPTE:") {
			kib, err := strconv.Atoi(f[1])
			check(err == nil, "not a number of kB")
			total += kib * 1024
		}
	}
	return total
}

// figure is one value of a row.
type figure struct {
	name, unit string
	value      float64
}

func init() {
	// The row callback_main measures the process's main thread, to which this keeps main; the others run elsewhere.
	if len(os.Args) == 3 && os.Args[1] == "callback_main" {
		runtime.LockOSThread()
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gort-bench-go ROW PROCS")
		os.Exit(2)
	}
	row := os.Args[1]
	procs, err := strconv.Atoi(os.Args[2])
	check(err == nil, "PROCS is a number")
	runtime.GOMAXPROCS(procs)
	heldAtStart = heldBytes()
	if text, set := os.LookupEnv("GORT_BENCH_SCALE"); set {
		scale, err = strconv.ParseFloat(text, 64)
		check(err == nil && scale > 0 && scale <= 1, "GORT_BENCH_SCALE is above 0 and at most 1")
	}
	one := func(unit string, value float64) []figure { return []figure{{row, unit, value}} }
	served := func(unit string, connections int, serve func(net.Conn)) []figure {
		rate, cpu := server(row, connections, serve, nil)
		return []figure{{row, unit, rate}, {row + "_cpu", "ns", cpu}}
	}
	var figures []figure
	switch row {
	case "yield":
		figures = one("ns", yields(procs))
	case "pingpong":
		figures = one("ns", pingpong(0, func() {}))
	case "pingpong_unbounded":
		// Go has no channel without a bound; a long buffer is what its users take.
		figures = one("ns", pingpong(1024, func() {}))
	case "spawn_join":
		figures = one("ns", spawnJoin())
	case "spawn_many":
		figures = one("ns", spawnMany())
	case "skynet_1m":
		figures = one("ms", skynet())
	case "mutex_100":
		figures = one("ns", mutex())
	case "sleep_1ms_100k":
		figures = one("ms", sleep())
	case "parked_1m":
		create, held := parked()
		figures = []figure{{row, "ns", create}, {row + "_bytes", "bytes", held}}
	case "callback_bound":
		figures = one("ns", callbackBound(1))
	case "callback_main":
		here, other := callbackMain()
		figures = []figure{{row, "ns", here}, {row + "_other", "ns", other}}
	case "callback_parallel":
		each, gain := callbackParallel()
		figures = []figure{{row, "ns", each}, {row + "_gain", "x", gain}}
	case "callback_wake":
		median, late := callbackWake()
		figures = []figure{{row + "_p50", "ns", median}, {row + "_p99", "ns", late}}
	case "callback_first":
		figures = one("ns", callbackFirst())
	case "call_c", "call_c_blocking":
		// Every cgo call is one that may block.
		figures = one("ns", callC())
	case "call_c_callback":
		figures = one("ns", callCCallback())
	case "locked_pingpong":
		figures = one("ns", lockedPingpong())
	case "tcp_rtt":
		figures = one("ns", roundTrip())
	case "tcp_echo_100":
		figures = served("trips/s", scaled(100), echo)
	case "tcp_echo_10k":
		figures = served("trips/s", scaled(10_000), echo)
	case "http_plain":
		figures = served("req/s", scaled(100), http)
	case "conn_churn":
		figures = served("conn/s", 100, answerOnce)
	case "idle_10k":
		held, cpu, switches := idle(row)
		figures = []figure{{row, "bytes", held}, {row + "_cpu", "%", cpu}, {row + "_switches", "/s", switches}}
	default:
		fmt.Fprintln(os.Stderr, "no such row:", row)
		os.Exit(2)
	}
	for _, f := range figures {
		fmt.Printf("{\"row\":%q,\"runtime\":\"go\",\"procs\":%d,\"value\":%.3f,\"unit\":%q}\n", f.name, procs, f.value, f.unit)
	}
}
