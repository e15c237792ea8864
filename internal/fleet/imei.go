package fleet

import "strconv"

// firstIMEI is the IMEI of device 0 without its check digit: the type
// allocation code of a Teltonika tracker (8 digits) and the serial number (6
// digits).
const firstIMEI = 35630704_000000

// imei returns the IMEI of device n: 15 digits, the last one a Luhn check
// digit (3GPP TS 23.003, annex B).
func imei(n int) string {
	body := uint64(firstIMEI + n)
	sum, double := uint64(0), true
	for rest := body; rest > 0; rest /= 10 {
		digit := rest % 10
		if double {
			digit = digit*2/10 + digit*2%10
		}
		sum += digit
		double = !double
	}
	return strconv.FormatUint(body*10+(10-sum%10)%10, 10)
}
