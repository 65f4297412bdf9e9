//! What customers read: one letter per kind of news, as plain text and as HTML from the same parts.

use std::fmt::Write as _;

use contract::{Contact, CorrelationId, Event, Money, NotificationKind, OrderDetails, OrderId, OrderItem};

/// News about an order, as far as a customer is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice<'a> {
    /// What kind of news.
    pub kind: NotificationKind,
    /// The order.
    pub order_id: OrderId,
    /// Whom to tell.
    pub customer: &'a Contact,
    items: &'a [OrderItem],
    total: Money,
    /// Why it was cancelled, for people.
    reason: Option<&'a str>,
}

impl<'a> Notice<'a> {
    /// The news in `event`; none where customers are not told about it.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        let (kind, order_id, details, reason) = match event {
            Event::OrderCreated(order) => (NotificationKind::Created, order.order_id, &order.details, None),
            Event::OrderConfirmed(order) => {
                (NotificationKind::Confirmed, order.order_id, &order.details, None)
            }
            Event::OrderCancelled(order) => {
                let reason = Some(order.detail.as_str()).filter(|detail| !detail.is_empty());
                (NotificationKind::Cancelled, order.order_id, &order.details, reason)
            }
            Event::OrderCompleted(_)
            | Event::InventoryReserved(_)
            | Event::InventoryFailed(_)
            | Event::InventoryReleased(_)
            | Event::InventoryUpdated(_)
            | Event::PaymentCaptured(_)
            | Event::PaymentFailed(_)
            | Event::PaymentRefunded(_)
            | Event::ShippingScheduled(_)
            | Event::ShippingFailed(_)
            | Event::ShippingDelivered(_)
            | Event::ShippingCancelled(_)
            | Event::NotificationSent(_)
            | Event::SalesUpdated(_) => return None,
        };
        let OrderDetails { customer, items, total, .. } = details;
        Some(Self { kind, order_id, customer, items, total: *total, reason })
    }

    /// A name for this news that is the same however often it is sent: the message id of the mail, the
    /// idempotency key of the text message.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.order_id, self.kind.to_string().to_lowercase())
    }

    /// The text message: one line.
    pub(super) fn short(&self) -> String {
        let Wording { headline, .. } = self.wording();
        format!("{headline}: {}, {}", self.total, self.order_id)
    }

    fn wording(&self) -> Wording {
        match self.kind {
            NotificationKind::Created => Wording {
                headline: "We received your order",
                body: "Thank you for your order. We are putting it together and will write again in a moment.",
            },
            NotificationKind::Confirmed => Wording {
                headline: "Your order is confirmed",
                body: "Good news: everything you ordered is yours. There is nothing left for you to do.",
            },
            NotificationKind::Cancelled => Wording {
                headline: "Your order was cancelled",
                body: "We are sorry: we could not fulfil your order. You will not be charged.",
            },
        }
    }
}

struct Wording {
    headline: &'static str,
    body: &'static str,
}

/// A mail without its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// The subject line.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// For everybody else.
    pub html: String,
}

impl Letter {
    /// The letter with the news of `notice`. `reference` is what support can search for.
    pub(super) fn about(notice: &Notice<'_>, reference: &CorrelationId) -> Self {
        let wording = notice.wording();
        Self {
            subject: format!("{} ({})", wording.headline, notice.order_id),
            text: text(notice, &wording, reference),
            html: html(notice, &wording, reference),
        }
    }
}

fn text(notice: &Notice<'_>, Wording { body, .. }: &Wording, reference: &CorrelationId) -> String {
    let name = &notice.customer.first_name;
    let reason = notice.reason.map(|reason| format!("The reason: {reason}.\n\n")).unwrap_or_default();
    let mut lines = String::new();
    for item in notice.items {
        let _infallible =
            writeln!(lines, "  {} x {} at {}", item.quantity, item.product_id, price(notice, item));
    }
    let (total, order_id) = (notice.total, notice.order_id);
    format!(
        "Hello {name},\n\n{body}\n\n{reason}{lines}  Total: {total}\n\nOrder:     {order_id}\nReference: {reference}\n"
    )
}

fn html(notice: &Notice<'_>, Wording { headline, body }: &Wording, reference: &CorrelationId) -> String {
    let name = escaped(&notice.customer.first_name);
    let reason = notice.reason.map(|reason| format!("<p>The reason: {}.</p>", escaped(reason)));
    let reason = reason.unwrap_or_default();
    let mut rows = String::new();
    for item in notice.items {
        let product = escaped(item.product_id.as_str());
        let price = price(notice, item);
        let _infallible = writeln!(
            rows,
            "    <tr><td>{} &times;</td><td>{product}</td><td>{price}</td></tr>",
            item.quantity
        );
    }
    let (total, order_id, reference) = (notice.total, notice.order_id, escaped(reference.as_str()));
    format!(
        r#"<!doctype html>
<html lang="en">
<body style="font-family: sans-serif; color: #222; max-width: 36em">
  <h1 style="font-size: 1.3em">{headline}</h1>
  <p>Hello {name},</p>
  <p>{body}</p>
  {reason}
  <table style="border-spacing: 1em 0.2em">
{rows}    <tr><td></td><td><b>Total</b></td><td><b>{total}</b></td></tr>
  </table>
  <p style="color: #777; font-size: 0.8em">Order {order_id}<br>Reference {reference}</p>
</body>
</html>
"#
    )
}

fn price(notice: &Notice<'_>, item: &OrderItem) -> Money {
    Money::new(item.unit_price_minor, notice.total.currency)
}

/// Text that comes from outside, fit for HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use contract::{Address, CancelReason, Currency, OrderCancelled};

    use super::*;

    fn cancelled(name: &str, detail: &str) -> Event {
        OrderCancelled {
            order_id: "0195b3d2-7bff-7abc-8def-0123456789ab".parse().unwrap(),
            details: OrderDetails {
                customer: Contact {
                    customer_id: "C-1".parse().unwrap(),
                    first_name: name.into(),
                    last_name: String::new(),
                    email: None,
                    phone: None,
                },
                ship_to: Address::default(),
                steps: None,
                items: vec![OrderItem {
                    product_id: "burger".parse().unwrap(),
                    quantity: 2,
                    unit_price_minor: 899,
                }],
                total: Money::new(1798, Currency::USD),
            },
            reason: CancelReason::OutOfStock,
            detail: detail.into(),
        }
        .into()
    }

    #[test]
    fn a_letter_tells_what_happened_and_why() {
        let event = cancelled("Ada", "burger: 2 ordered, 1 available");

        let letter = Letter::about(&Notice::of(&event).unwrap(), &"req-7".parse().unwrap());

        assert_eq!(letter.subject, "Your order was cancelled (0195b3d2-7bff-7abc-8def-0123456789ab)");
        assert_eq!(
            letter.text,
            "Hello Ada,\n\n\
             We are sorry: we could not fulfil your order. You will not be charged.\n\n\
             The reason: burger: 2 ordered, 1 available.\n\n  \
             2 x burger at 8.99 USD\n  \
             Total: 17.98 USD\n\n\
             Order:     0195b3d2-7bff-7abc-8def-0123456789ab\n\
             Reference: req-7\n"
        );
    }

    #[test]
    fn what_customers_call_themselves_cannot_become_markup() {
        let event = cancelled("<img src=x onerror='alert(1)'>", "a & b");

        let letter = Letter::about(&Notice::of(&event).unwrap(), &"<b>".parse().unwrap());

        assert!(
            letter.html.contains("Hello &lt;img src=x onerror=&#39;alert(1)&#39;&gt;,"),
            "{}",
            letter.html
        );
        assert!(letter.html.contains("a &amp; b") && letter.html.contains("Reference &lt;b&gt;"));
    }
}
