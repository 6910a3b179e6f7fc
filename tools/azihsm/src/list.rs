// SPDX-License-Identifier: GPL-2.0-or-later

//! `azihsm list`: what there is.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::nodes::{Function, Inventory, Kind, Role};

/// Lists nodes and functions.
pub fn run(json: bool, out: &mut dyn Write) -> Result<()> {
    let inventory = Inventory::read(Path::new("/sys")).context("cannot read /sys")?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &inventory)?;
        return Ok(writeln!(out)?);
    }
    if inventory.functions.is_empty() {
        return Err(inventory.why_none().into());
    }
    table(&inventory, out)?;
    let unused = inventory.functions.iter().all(|f| f.nodes.is_empty());
    if unused {
        return Err(inventory.why_none().into());
    }
    Ok(())
}

/// Writes one line for each node, and for each function without one.
fn table(inventory: &Inventory, out: &mut dyn Write) -> Result<()> {
    let mut line = |node: &str, kind: &str, number: &str, function: [&str; 4]| {
        let [address, id, driver, role] = function;
        let text =
            format!("{node:<20} {kind:<5} {number:<8} {address:<13} {id:<10} {driver:<8} {role}");
        writeln!(out, "{}", text.trim_end())
    };
    let titles = ["PCI DEVICE", "ID", "DRIVER", "SR-IOV"];
    line("NODE", "KIND", "NUMBER", titles)?;
    for function in &inventory.functions {
        let role = function.role.as_ref().map_or("-".into(), role);
        let columns = columns(function, &role);
        for node in &function.nodes {
            let kind = match node.kind {
                Kind::Hsm => "hsm",
                Kind::Mgmt => "mgmt",
            };
            line(
                &node.path.display().to_string(),
                kind,
                &node.number,
                columns,
            )?;
        }
        if function.nodes.is_empty() {
            line("-", "-", "-", columns)?;
        }
    }
    Ok(())
}

fn role(role: &Role) -> String {
    match role {
        Role::Physical { vfs, total_vfs } => format!("PF, {vfs} of {total_vfs} VFs"),
        Role::Virtual {
            index,
            physical_function,
        } => format!("VF {index} of {physical_function}"),
    }
}

fn columns<'a>(function: &'a Function, role: &'a str) -> [&'a str; 4] {
    [
        &function.pci_address,
        &function.pci_id,
        function.driver.as_deref().unwrap_or("-"),
        role,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::Node;

    #[test]
    fn every_function_has_a_line() {
        let function = |address: &str, nodes| Function {
            pci_address: address.into(),
            pci_id: "1414:c003".into(),
            role: Some(Role::Physical {
                vfs: 2,
                total_vfs: 4,
            }),
            driver: Some("azihsm".into()),
            nodes,
        };
        let node = Node {
            name: "azihsm0".into(),
            path: "/dev/azihsm0".into(),
            kind: Kind::Hsm,
            number: "240:0".into(),
        };
        let inventory = Inventory {
            module_loaded: true,
            functions: vec![
                function("0000:01:00.0", vec![node]),
                function("0000:02:00.0", vec![]),
            ],
        };
        let mut out = Vec::new();
        table(&inventory, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words.len(), 3);
        assert_eq!(
            words[1],
            [
                "/dev/azihsm0",
                "hsm",
                "240:0",
                "0000:01:00.0",
                "1414:c003",
                "azihsm",
                "PF,",
                "2",
                "of",
                "4",
                "VFs"
            ]
        );
        assert_eq!(words[2][3], "0000:02:00.0");
    }
}
