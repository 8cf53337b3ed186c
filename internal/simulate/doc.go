// Package simulate holds tests that run the engine through years of simulated
// time and through whole fleets: failing CAs, outages, wrong clocks, machines
// that sleep, processes that are stopped and woken, ten thousand certificates
// revoked at once. They print what they measured. INKAN_LONG=1 runs the long
// forms.
package simulate
