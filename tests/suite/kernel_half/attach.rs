//! Attaching the kernel half to interfaces, and detaching it.

use anyhow::Result;
use aya::programs::Program;
use xvrrp_common::abi::program;
use xvrrp_common::xdp::{XdpMode, XdpProgram};
use xvrrp_dataplane::{Attachments, Capacity, Dataplane, DataplaneError};
use xvrrp_lab::{Namespace, PATIENCE, eventually, ifindex, wait_until};

fn load() -> Result<Attachments> {
    let capacity = Capacity { routers: 1, vips: 1, sources: 0 };
    Ok(Dataplane::load(capacity)?.attachments)
}

/// Returns what `ip link` prints about the interface.
fn link(namespace: &Namespace, interface: &str) -> Result<String> {
    namespace.ip(&format!("-details link show dev {interface}"))
}

/// Waits until the kernel has detached the program, which it does some time after the last reference to the link has
/// gone.
fn wait_until_detached(namespace: &Namespace, interface: &str) -> Result<()> {
    wait_until(&format!("no program is attached to {interface}"), || Ok(!link(namespace, interface)?.contains("xdp")))
}

fn with_veth(role: &str) -> Result<Namespace> {
    let namespace = Namespace::new(role)?;
    namespace.ip("link add lan type veth peer name far")?;
    Ok(namespace)
}

#[test]
fn veth_and_loopback_get_generic_mode_until_the_dataplane_is_dropped() -> Result<()> {
    let namespace = with_veth("attach")?;
    for interface in ["lo", "lan"] {
        let dataplane = namespace.run(|| -> Result<_> {
            let mut dataplane = load()?;
            let mode = dataplane.attach(interface, ifindex(interface)?, None)?;
            assert_eq!(mode, XdpMode::Generic, "{interface}");
            Ok(dataplane)
        })??;
        let shown = link(&namespace, interface)?;
        assert!(shown.contains("xdpgeneric"), "no program in generic mode: {shown}");
        drop(dataplane);
        wait_until_detached(&namespace, interface)?;
    }
    Ok(())
}

#[test]
fn an_interface_whose_driver_supports_it_gets_driver_mode() -> Result<()> {
    let namespace = Namespace::new("driver")?;
    namespace.ip("tuntap add dev lan mode tap")?;
    let dataplane = namespace.run(|| -> Result<_> {
        let mut dataplane = load()?;
        assert_eq!(dataplane.attach("lan", ifindex("lan")?, None)?, XdpMode::Driver);
        Ok(dataplane)
    })??;
    let shown = link(&namespace, "lan")?;
    assert!(shown.contains("xdp") && !shown.contains("xdpgeneric"), "no program in driver mode: {shown}");
    drop(dataplane);
    wait_until_detached(&namespace, "lan")
}

#[test]
fn the_error_of_a_taken_hook_names_the_interface_the_holder_and_the_remedy() -> Result<()> {
    let namespace = with_veth("taken")?;
    namespace.run(|| -> Result<()> {
        let lan = ifindex("lan")?;
        let mut holder = load()?;
        holder.attach("lan", lan, None)?;
        let Some(Program::Xdp(ingress)) = holder.program(program::INGRESS) else {
            anyhow::bail!("the object has no XDP program");
        };
        let id = ingress.info()?.id();

        let seen = load()?.attach("lan", lan, Some(XdpProgram { id, mode: XdpMode::Generic }));
        let unseen = load()?.attach("lan", lan, None);

        let seen = seen.expect_err("the hook is taken");
        assert!(matches!(seen, DataplaneError::HookTaken { .. }), "another error: {seen}");
        assert_eq!(
            seen.to_string(),
            format!(
                "the XDP hook of lan is taken by program \"xvrrp_ingress\" (id {id}, generic mode); detach that program \
                 (`ip link set dev lan xdp off`, or stop what attached it) or use another interface"
            )
        );
        let unseen = unseen.expect_err("the hook is taken");
        assert!(unseen.to_string().starts_with("the XDP hook of lan is taken by another program;"), "{unseen}");
        Ok(())
    })?
}

#[test]
fn the_hook_is_free_again_after_the_dataplane_was_dropped() -> Result<()> {
    let namespace = with_veth("again")?;
    namespace.run(|| -> Result<()> {
        load()?.attach("lan", ifindex("lan")?, None)?;
        let next = || -> Result<()> { Ok(load()?.attach("lan", ifindex("lan")?, None).map(drop)?) };
        eventually("the hook is free", PATIENCE, next)
    })?
}
