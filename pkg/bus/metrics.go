package bus

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are a router's metrics. How long handlers take is Watermill's own usher_bus_handler_execution_time_seconds.
type meters struct {
	router    *Router
	handled   *prometheus.CounterVec
	redeliver *prometheus.CounterVec
	inFlight  *prometheus.GaugeVec

	consuming, pending, unsettled, oldest *prometheus.Desc
}

func newMeters(r *Router) *meters {
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("usher_bus_"+name, help, []string{"handler"}, nil)
	}
	return &meters{
		router: r,
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_bus_handled_total", Help: "Messages handled, by what became of them: done, retry, later, dead.",
		}, []string{"handler", "verdict"}),
		redeliver: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_bus_redeliveries_total", Help: "Messages that had been handed out before.",
		}, []string{"handler"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "usher_bus_in_flight", Help: "Messages being handled now.",
		}, []string{"handler"}),
		consuming: gauge("consuming", "Whether the handler's consumer works: 1 or 0."),
		pending:   gauge("pending", "Messages in the stream that the consumer has not handed out (the lag)."),
		unsettled: gauge("unsettled", "Messages handed out, to any process, and not settled; those that wait for their next try too."),
		oldest:    gauge("oldest_seconds", "Age of the oldest message that is not settled."),
	}
}

// Describe implements prometheus.Collector.
func (m *meters) Describe(c chan<- *prometheus.Desc) {
	m.handled.Describe(c)
	m.redeliver.Describe(c)
	m.inFlight.Describe(c)
	c <- m.consuming
	c <- m.pending
	c <- m.unsettled
	c <- m.oldest
}

// Collect implements prometheus.Collector.
func (m *meters) Collect(c chan<- prometheus.Metric) {
	m.handled.Collect(c)
	m.redeliver.Collect(c)
	m.inFlight.Collect(c)
	now := m.router.options.Clock()
	all := m.router.subscriber.figures()
	for name := range m.router.plans {
		f, consuming := all[name]
		set := func(d *prometheus.Desc, value float64) {
			c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, name)
		}
		set(m.consuming, oneIf(consuming && !f.troubled))
		set(m.pending, f.pending)
		set(m.unsettled, f.unsettled)
		set(m.oldest, f.age(now).Seconds())
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (f figures) age(now time.Time) time.Duration {
	if f.oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(f.oldest))
}

// handlerMeters are one handler's, looked up once.
type handlerMeters struct {
	handled   map[string]prometheus.Counter // by verdict
	redeliver prometheus.Counter
	inFlight  prometheus.Gauge
}

func (m *meters) of(handler string) handlerMeters {
	h := handlerMeters{
		handled:   map[string]prometheus.Counter{},
		redeliver: m.redeliver.WithLabelValues(handler), inFlight: m.inFlight.WithLabelValues(handler),
	}
	for _, v := range []string{verdictDone, verdictRetry, verdictLater, verdictDead} {
		h.handled[v] = m.handled.WithLabelValues(handler, v)
	}
	return h
}

func (h handlerMeters) begin(d *delivery) {
	h.inFlight.Inc()
	if d.deliveries > 1 {
		h.redeliver.Inc()
	}
}

func (h handlerMeters) end(v verdict) {
	h.inFlight.Dec()
	h.handled[v.kind].Inc()
}
