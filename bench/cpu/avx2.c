/*
 * Hides AVX-512 (and AMX) from a native library, so that it takes the kernels it has for AVX2: Linux can make the CPUID
 * instruction fault in one process (arch_prctl ARCH_CPUID, Intel's CPUID faulting), and the handler here answers in its
 * place with those bits of leaf 7 cleared. Loaded with process.dlopen: built with -DHIDE its constructor begins, with
 * -DSHOW it ends. Where the kernel refuses it says so in the environment variable TWEEDIE_NO_CPUID_FAULTING.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_CPUID 0x1012

static long faulting(int on) { return syscall(SYS_arch_prctl, ARCH_CPUID, on ? 0 : 1); }

#ifdef HIDE
static struct sigaction others;

static void answer(int signal_, siginfo_t *info, void *context) {
  greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)r[REG_RIP];
  if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: V8's own fault, or a real one */
    if (others.sa_flags & SA_SIGINFO) others.sa_sigaction(signal_, info, context);
    else signal(SIGSEGV, SIG_DFL);
    return;
  }
  unsigned leaf = (unsigned)r[REG_RAX], sub = (unsigned)r[REG_RCX], a, b, c, d;
  faulting(0);
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(sub));
  faulting(1);
  if (leaf == 7 && sub == 0) {
    b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31); /* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
    c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);                                   /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
    d &= ~(1u << 2 | 1u << 3 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);                        /* 4VNNIW, 4FMAPS, AMX-BF16, FP16, AMX-TILE, AMX-INT8 */
  } else if (leaf == 7 && sub == 1) a &= ~(1u << 5 | 1u << 21);                                   /* AVX512-BF16, AMX-FP16 */
  r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d, r[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  sigaction(SIGSEGV, &action, &others);
  if (faulting(1) != 0) setenv("TWEEDIE_NO_CPUID_FAULTING", "1", 1);
}
#else
__attribute__((constructor)) static void end(void) { faulting(0); }
#endif
