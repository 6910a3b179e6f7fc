// SPDX-License-Identifier: GPL-2.0-or-later

//! `azihsm vf`: the virtual functions of a physical one.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::mgmt::{Mgmt, Node};
use crate::nodes::{Inventory, Kind};
use crate::open::OpenError;

/// A physical function whose management node is open.
pub struct Pf<M = Node> {
    address: String,
    inventory: Inventory,
    mgmt: M,
}

/// What is told about a virtual function.
#[derive(Debug, Serialize)]
struct Vf<'a> {
    index: u16,
    controller_id: u16,
    resources: u16,
    pci_address: Option<&'a str>,
    driver: Option<&'a str>,
    node: Option<&'a Path>,
}

impl Pf {
    /// Opens the physical function that `name` means, the first one without a name.
    pub fn open(name: Option<&str>) -> Result<Self> {
        let inventory = Inventory::read(Path::new("/sys")).context("cannot read /sys")?;
        let (function, node) = inventory.choose_mgmt(name)?;
        let mgmt = Node::open(&node.path).map_err(|error| OpenError::new(&node.path, error))?;
        Ok(Self {
            address: function.pci_address.clone(),
            mgmt,
            inventory,
        })
    }
}

impl<M: Mgmt> Pf<M> {
    /// Lists the virtual functions.
    pub fn list(&self, json: bool, out: &mut dyn Write) -> Result<()> {
        let vfs = (0..self.mgmt.vf_count()?)
            .map(|index| self.vf(index))
            .collect::<Result<Vec<_>>>()?;
        if json {
            serde_json::to_writer_pretty(&mut *out, &vfs)?;
            return Ok(writeln!(out)?);
        }
        let mut line = |columns: [&str; 6]| {
            let [vf, controller, resources, address, driver, node] = columns;
            let text = format!(
                "{vf:<4} {controller:<11} {resources:<10} {address:<13} {driver:<9} {node}"
            );
            writeln!(out, "{}", text.trim_end())
        };
        line([
            "VF",
            "CONTROLLER",
            "RESOURCES",
            "PCI DEVICE",
            "DRIVER",
            "NODE",
        ])?;
        for vf in &vfs {
            let node = vf.node.map(|path| path.display().to_string());
            line([
                &vf.index.to_string(),
                &vf.controller_id.to_string(),
                &vf.resources.to_string(),
                vf.pci_address.unwrap_or("-"),
                vf.driver.unwrap_or("-"),
                node.as_deref().unwrap_or("-"),
            ])?;
        }
        Ok(())
    }

    fn vf(&self, index: u16) -> Result<Vf<'_>> {
        let resources = self
            .mgmt
            .resources(index)
            .with_context(|| format!("cannot get the resources of virtual function {index}"))?;
        let function = self
            .inventory
            .virtual_function(&self.address, u32::from(index));
        let mut nodes = function.into_iter().flat_map(|function| &function.nodes);
        Ok(Vf {
            index,
            controller_id: index + 1,
            resources,
            pci_address: function.map(|function| &*function.pci_address),
            driver: function.and_then(|function| function.driver.as_deref()),
            node: nodes
                .find(|node| node.kind == Kind::Hsm)
                .map(|node| &*node.path),
        })
    }

    /// Sets the number of resources of a virtual function and says what it was.
    pub fn set_resources(&self, index: u16, count: u16, out: &mut dyn Write) -> Result<()> {
        let old = self
            .mgmt
            .resources(index)
            .with_context(|| format!("cannot get the resources of virtual function {index}"))?;
        self.mgmt.set_resources(index, count).with_context(|| {
            format!("cannot set the resources of virtual function {index} from {old} to {count}")
        })?;
        Ok(writeln!(
            out,
            "virtual function {index} of {}: {count} resources (had {old})",
            self.address
        )?)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::mgmt::Error;
    use crate::nodes::{Function, Node as DeviceNode, Role};

    const PF: &str = "0000:01:00.0";

    /// A device with 65 resources, as it would answer.
    struct Fake(RefCell<Vec<u16>>);

    impl Mgmt for Fake {
        fn vf_count(&self) -> Result<u16, Error> {
            Ok(self.0.borrow().len() as u16)
        }

        fn resources(&self, index: u16) -> Result<u16, Error> {
            let counts = self.0.borrow();
            counts
                .get(usize::from(index))
                .copied()
                .ok_or(Error::VfIndex)
        }

        fn set_resources(&self, index: u16, count: u16) -> Result<(), Error> {
            if count > 65 {
                return Err(Error::Refused);
            }
            let mut counts = self.0.borrow_mut();
            *counts.get_mut(usize::from(index)).ok_or(Error::VfIndex)? = count;
            Ok(())
        }
    }

    fn pf(counts: &[u16]) -> Pf<Fake> {
        let vf = Function {
            pci_address: "0000:01:00.1".into(),
            pci_id: "1414:c003".into(),
            role: Some(Role::Virtual {
                index: 0,
                physical_function: PF.into(),
            }),
            driver: Some("azihsm".into()),
            nodes: vec![DeviceNode {
                name: "azihsm1".into(),
                path: "/dev/azihsm1".into(),
                kind: Kind::Hsm,
                number: "240:1".into(),
            }],
        };
        Pf {
            address: PF.into(),
            inventory: Inventory {
                module_loaded: true,
                functions: vec![vf],
            },
            mgmt: Fake(RefCell::new(counts.to_vec())),
        }
    }

    fn output(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<String> {
        let mut out = Vec::new();
        write(&mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn functions_are_listed() {
        let pf = pf(&[4, 0]);
        let text = output(|out| pf.list(false, out)).unwrap();
        let lines: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            ["0", "1", "4", "0000:01:00.1", "azihsm", "/dev/azihsm1"]
        );
        // This one is nowhere to be seen: a guest may have it.
        assert_eq!(lines[2], ["1", "2", "0", "-", "-", "-"]);

        let json = output(|out| pf.list(true, out)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[0]["controller_id"], 1);
        assert_eq!(json[0]["node"], "/dev/azihsm1");
        assert_eq!(json[1]["pci_address"], serde_json::Value::Null);
    }

    #[test]
    fn resources_are_set() {
        let pf = pf(&[4, 0]);
        let text = output(|out| pf.set_resources(1, 2, out)).unwrap();
        assert!(text.contains("2 resources (had 0)"), "{text}");
        assert_eq!(pf.mgmt.resources(1), Ok(2));
        let refused = pf.set_resources(1, 66, &mut Vec::new()).unwrap_err();
        assert!(
            format!("{refused:#}").contains("from 2 to 66"),
            "{refused:#}"
        );
        assert!(pf.set_resources(2, 1, &mut Vec::new()).is_err());
    }
}
