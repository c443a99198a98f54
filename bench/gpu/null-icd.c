/*
 * A Vulkan driver in front of RADV's null device (RADV_FORCE_FAMILY). RADV compiles there for a GPU that need not be
 * here, but command buffers cannot be recorded, which Dawn does while it makes a device. So what records, submits and
 * waits does nothing here, and everything else is RADV's: shaders are compiled as they would be.
 *
 *     gcc -shared -fPIC -o null-icd.so null-icd.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);

#define VISIBLE __attribute__((visibility("default")))

static void *driver;
static Lookup ofInstance, ofPhysicalDevice, ofDevice;

static void load(void) {
  if (driver) return;
  driver = dlopen("libvulkan_radeon.so", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return;
  ofInstance = (Lookup)dlsym(driver, "vk_icdGetInstanceProcAddr");
  ofPhysicalDevice = (Lookup)dlsym(driver, "vk_icdGetPhysicalDeviceProcAddr");
}

/* VK_SUCCESS, whatever the arguments. */
static int nothing(void) { return 0; }

static const char *const replaced[] = {
  "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkResetCommandBuffer", "vkResetCommandPool", "vkQueueSubmit",
  "vkQueueSubmit2", "vkQueueWaitIdle", "vkDeviceWaitIdle", "vkWaitForFences", "vkGetFenceStatus",
};

static Function deviceFunction(void *device, const char *name);

static Function ours(const char *name) {
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (Function)deviceFunction;
  if (!strncmp(name, "vkCmd", 5)) return (Function)nothing;
  for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
    if (!strcmp(name, replaced[i])) return (Function)nothing;
  return NULL;
}

static Function deviceFunction(void *device, const char *name) {
  Function own = ours(name);
  return own ? own : ofDevice(device, name);
}

VISIBLE Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  load();
  if (!ofInstance) return NULL;
  if (instance && !ofDevice) ofDevice = (Lookup)ofInstance(instance, "vkGetDeviceProcAddr");
  Function own = ours(name);
  return own ? own : ofInstance(instance, name);
}

VISIBLE Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  load();
  return ofPhysicalDevice ? ofPhysicalDevice(instance, name) : NULL;
}

VISIBLE int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  load();
  int (*negotiate)(uint32_t *) =
      driver ? (int (*)(uint32_t *))dlsym(driver, "vk_icdNegotiateLoaderICDInterfaceVersion") : NULL;
  return negotiate ? negotiate(version) : 0;
}
